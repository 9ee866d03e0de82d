#include "api/key_records.h"

#include <algorithm>

#include "api/keys.h"
#include "api/now.h"
#include "api/user_error.h"
#include "base/random.h"

namespace hako::api {
using policy::Role;
using store::ApiKey;
using store::TenantStore;

namespace {

constexpr size_t kKeyIdLength = 12;

bool is_owner(const ApiKey& key) {
  return policy::role_from(key.role) == Role::owner &&
         (key.expires_ms == 0 || key.expires_ms > unix_now_ms());
}

Error not_of_the_api() {
  return Error(ErrorCode::failed_precondition,
               "the operator's key is that of the key file: remove the file and start hako again "
               "to have a new one");
}

/// An owner has everything in a tenant, so also what its maker may read; everybody else only what
/// is public, and nobody more than their maker's agent.
KeyRequest with_defaults(KeyRequest request, const Principal& who) {
  policy::Narrowing policy = request.policy.value_or(policy::Narrowing());
  if (request.role == Role::owner && !policy.label) policy.label = who.clearance;
  if (!policy.agent && !who.agent.empty()) policy.agent = who.agent;
  request.policy = std::move(policy);
  return request;
}

/// The key, if `who` may manage it.
Result<ApiKey> find_to_manage(TenantStore& tenants, const std::string& id, const Principal& who) {
  HAKO_TRYV(may_still_manage(tenants, who));
  HAKO_TRY(auto key, find_own_key(tenants, id, who));
  if (key.id == kOperatorKey) return not_of_the_api();
  HAKO_TRYV(may_manage(who, key));
  return key;
}

/// A tenant without an owner could only be mended by the operator, so only they make one.
Result<void> leave_an_owner(TenantStore& tenants, const ApiKey& key, const Principal& who) {
  if (who.is_operator || !is_owner(key)) return ok();
  HAKO_TRY(auto keys, tenants.keys_of(key.tenant));
  bool another = std::any_of(keys.begin(), keys.end(), [&](const ApiKey& each) {
    return each.id != key.id && is_owner(each);
  });
  if (another) return ok();
  return Error(ErrorCode::failed_precondition,
               "this is the tenant's last owner: make another one first");
}

}  // namespace

Error key_error(const Error& error, std::string_view what) {
  bool refusal = error.code() == ErrorCode::permission_denied ||
                 error.code() == ErrorCode::unauthenticated;
  return refusal ? error : error_for_user(error, what);
}

Result<Secret> still_valid(TenantStore& tenants, const Principal& who) {
  HAKO_TRY(auto secret, secret_in_state(tenants, who.key_id, who.tenant, who.key_state));
  bool revoked = false;
  if (!who.token_id.empty()) {
    HAKO_TRY(revoked, tenants.is_token_revoked(who.token_id));
  }
  if (secret && !revoked) return *secret;
  return Error(ErrorCode::unauthenticated, "the API key is not valid");
}

Result<void> may_still_manage(TenantStore& tenants, const Principal& who) {
  HAKO_TRY(auto secret, still_valid(tenants, who));
  if (secret.until_ms == 0) return ok();
  return Error(ErrorCode::permission_denied,
               "the key has been rotated, and its old secret manages no keys: use the new one");
}

Result<ApiKey> find_own_key(TenantStore& tenants, const std::string& id, const Principal& who) {
  HAKO_TRY(auto key, tenants.find_key_by_id(id));
  if (!key || !sees_key(who, *key)) return Error(ErrorCode::not_found, "key not found");
  return *key;
}

Task<Result<std::vector<ApiKey>>> KeyRecords::list(Principal who) {
  auto work = [who](TenantStore& tenants) -> Result<std::vector<ApiKey>> {
    HAKO_TRY(auto keys, tenants.keys_of(who.tenant));
    std::erase_if(keys, [&](const ApiKey& key) { return !sees_key(who, key); });
    return keys;
  };
  auto keys = co_await store_.with_tenants(std::move(work));
  if (!keys) co_return error_for_user(keys.error(), "keys not read");
  co_return std::move(keys);
}

Task<Result<ApiKey>> KeyRecords::find(std::string id, Principal who) {
  auto work = [id, who](TenantStore& tenants) { return find_own_key(tenants, id, who); };
  auto key = co_await store_.with_tenants(std::move(work));
  if (!key) co_return error_for_user(key.error(), "key not read");
  co_return std::move(key);
}

Task<Result<IssuedKey>> KeyRecords::create(KeyRequest request, Principal who) {
  IssuedKey issued;
  issued.key = make_api_key();
  ApiKey& record = issued.record;
  record.id = "k" + random_lower_alphanumeric(kKeyIdLength);
  record.hash = hash_api_key(issued.key);
  record.tenant = who.tenant;
  record.created_ms = unix_now_ms();
  apply(with_defaults(std::move(request), who), record);
  auto work = [record, who](TenantStore& tenants) -> Result<void> {
    HAKO_TRYV(may_still_manage(tenants, who));
    HAKO_TRYV(may_manage(who, record));
    HAKO_TRY(auto keys, tenants.keys_of(record.tenant));
    if (keys.size() >= kMostKeys) {
      return Error(ErrorCode::resource_exhausted,
                   "the tenant has " + std::to_string(kMostKeys) + " keys already");
    }
    return tenants.put_key(record);
  };
  auto added = co_await store_.with_tenants(std::move(work));
  if (!added) co_return key_error(added.error(), "key not made");
  co_return issued;
}

Task<Result<ApiKey>> KeyRecords::change(std::string id, KeyRequest request, Principal who) {
  auto work = [id, request, who](TenantStore& tenants) -> Result<ApiKey> {
    HAKO_TRY(auto key, find_to_manage(tenants, id, who));
    ApiKey changed = key;
    apply(request, changed);
    // Its own key as well: else it would be wide again with what it was narrowed by taken off.
    Principal as_other = who;
    as_other.key_id.clear();
    HAKO_TRYV(may_manage(as_other, changed));
    if (!is_owner(changed)) {
      HAKO_TRYV(leave_an_owner(tenants, key, who));
    }
    HAKO_TRYV(tenants.put_key(changed));
    return changed;
  };
  auto changed = co_await store_.with_tenants(std::move(work));
  if (!changed) co_return key_error(changed.error(), "key not changed");
  KeyChange change{.tenant = who.tenant, .key_id = id};
  co_await changed_(std::move(change));
  co_return std::move(changed);
}

Task<Result<IssuedKey>> KeyRecords::rotate(std::string id, int64_t grace_s, Principal who) {
  std::string secret = make_api_key();
  auto work = [id, grace_s, who, hash = hash_api_key(secret)](TenantStore& tenants)
      -> Result<ApiKey> {
    HAKO_TRY(auto key, find_to_manage(tenants, id, who));
    key.old_hash = grace_s > 0 ? key.hash : std::string();
    key.old_until_ms = grace_s > 0 ? unix_now_ms() + grace_s * 1000 : 0;
    key.hash = hash;
    HAKO_TRYV(tenants.put_key(key));
    // Its tokens have gone with the old secret, or go with it.
    HAKO_TRYV(tenants.expire_revoked(id, grace_s > 0 ? key.old_until_ms : 0));
    HAKO_TRYV(tenants.forget_revoked_before(unix_now_ms()));
    return key;
  };
  auto rotated = co_await store_.with_tenants(std::move(work));
  if (!rotated) co_return key_error(rotated.error(), "key not rotated");
  KeyChange change{.tenant = who.tenant, .key_id = id};
  co_await changed_(std::move(change));
  IssuedKey issued;
  issued.record = std::move(rotated.value());
  issued.key = std::move(secret);
  co_return issued;
}

Task<Result<void>> KeyRecords::remove(std::string id, Principal who) {
  auto work = [id, who](TenantStore& tenants) -> Result<void> {
    HAKO_TRY(auto key, find_to_manage(tenants, id, who));
    HAKO_TRYV(leave_an_owner(tenants, key, who));
    return tenants.remove_key(id);
  };
  auto removed = co_await store_.with_tenants(std::move(work));
  if (!removed) co_return key_error(removed.error(), "key not removed");
  KeyChange change{.tenant = who.tenant, .key_id = id};
  co_await changed_(std::move(change));
  co_return ok();
}

}  // namespace hako::api
