#include "api/secrets.h"

#include <algorithm>

#include "api/key_records.h"
#include "api/now.h"
#include "api/user_error.h"
#include "base/random.h"
#include "vault/placeholder.h"
#include "vault/seal.h"

namespace hako::api {
using store::SecretRecord;
using store::SecretStore;
using store::Store;

namespace {

constexpr size_t kSecretIdLength = 20;

Error no_such_secret() {
  return Error(ErrorCode::not_found, "secret not found");
}

/// The tenant's own before those that others have granted to it.
Result<SecretRecord> find_seen(SecretStore& secrets, const std::string& reference,
                               const Principal& who) {
  HAKO_TRY(auto all, secrets.secrets_for(who.tenant));
  auto name = secret_name(reference);
  auto found = std::find_if(all.begin(), all.end(), [&](const SecretRecord& each) {
    return (each.id == reference || (name && each.name == *name)) && sees_secret(who, each);
  });
  if (found == all.end()) return no_such_secret();
  return std::move(*found);
}

/// As it is now, if `who` may change it. What another tenant has granted is that one's.
Result<SecretRecord> find_to_change(Store& store, const std::string& reference,
                                    const Principal& who) {
  HAKO_TRYV(still_valid(store.tenants(), who));
  HAKO_TRY(auto secret, find_seen(store.secrets(), reference, who));
  if (secret.tenant != who.tenant) {
    return Error(ErrorCode::permission_denied,
                 "secret " + secret.name + " is kept by another tenant (rule secret.tenant)");
  }
  HAKO_TRYV(may_keep_secret(who, grants_of(secret), label_of(secret.label)));
  return secret;
}

std::vector<SecretGrant> usual_grants(const Principal& who) {
  SecretGrant grant;
  if (who.agent.empty()) {
    grant.tenant = who.tenant;
  } else {
    grant.agent = who.agent;
  }
  return {grant};
}

Error secret_error(const Error& error, std::string_view what) {
  bool ours = error.code() == ErrorCode::already_exists || error.code() == ErrorCode::not_found;
  return ours ? error : key_error(error, what);
}

}  // namespace

Result<void> Secrets::kept() const {
  if (master_) return ok();
  return Error(ErrorCode::unsupported,
               "this server keeps no secrets: its operator has set no [secrets] master key");
}

Task<Result<std::vector<SecretRecord>>> Secrets::list(Principal who) {
  HAKO_CO_TRYV(kept());
  auto work = [who](SecretStore& secrets) -> Result<std::vector<SecretRecord>> {
    HAKO_TRY(auto all, secrets.secrets_for(who.tenant));
    std::erase_if(all, [&](const SecretRecord& each) { return !sees_secret(who, each); });
    return all;
  };
  auto all = co_await store_.with_secrets(std::move(work));
  if (!all) co_return error_for_user(all.error(), "secrets not read");
  co_return std::move(all);
}

Task<Result<SecretRecord>> Secrets::find(std::string reference, Principal who) {
  HAKO_CO_TRYV(kept());
  auto work = [reference, who](SecretStore& secrets) {
    return find_seen(secrets, reference, who);
  };
  auto found = co_await store_.with_secrets(std::move(work));
  if (!found) co_return secret_error(found.error(), "secret not read");
  co_return std::move(found);
}

Task<Result<SecretRecord>> Secrets::create(SecretRequest request, Principal who) {
  HAKO_CO_TRYV(kept());
  SecretRecord record;
  record.id = std::string(kSecretIdPrefix) + random_lower_alphanumeric(kSecretIdLength);
  record.tenant = who.tenant;
  record.key_id = who.key_id;
  record.created_ms = record.updated_ms = unix_now_ms();
  if (!request.grants) request.grants = usual_grants(who);
  if (!request.uses) request.uses = usual_uses(*request.value);
  apply(request, record);
  HAKO_CO_TRYV(may_keep_secret(who, *request.grants, label_of(record.label)));
  record.shape = vault::to_text(vault::shape_of(*request.value));
  record.sealed = vault::seal(*master_, record.id, *request.value);
  auto work = [record, who](Store& store) -> Result<void> {
    HAKO_TRYV(still_valid(store.tenants(), who));
    HAKO_TRY(auto all, store.secrets().secrets_of(record.tenant));
    if (all.size() >= kMostSecrets) {
      return Error(ErrorCode::resource_exhausted,
                   "the tenant has " + std::to_string(kMostSecrets) + " secrets already");
    }
    return store.secrets().add_secret(record);
  };
  auto added = co_await store_.with_all(std::move(work));
  if (!added && added.error().code() == ErrorCode::already_exists) {
    co_return Error(ErrorCode::already_exists,
                    "there is a secret of the name " + record.name + " already");
  }
  if (!added) co_return secret_error(added.error(), "secret not written");
  co_return record;
}

Task<Result<SecretRecord>> Secrets::change(std::string reference, SecretRequest request,
                                           Principal who) {
  HAKO_CO_TRYV(kept());
  struct Both {
    SecretRecord before, now;
  };
  auto work = [reference, request, who, master = *master_](Store& store) -> Result<Both> {
    Both both;
    HAKO_TRY(both.before, find_to_change(store, reference, who));
    both.now = both.before;
    apply(request, both.now);
    HAKO_TRYV(may_keep_secret(who, grants_of(both.now), label_of(both.now.label)));
    if (request.value) {
      // The placeholder stays: boxes that run have it.
      both.now.sealed = vault::seal(master, both.now.id, *request.value);
      both.now.version += 1;
    }
    both.now.updated_ms = std::max(unix_now_ms(), both.before.updated_ms + 1);
    HAKO_TRYV(store.secrets().put_secret(both.now));
    return both;
  };
  auto changed = co_await store_.with_all(std::move(work));
  if (!changed) co_return secret_error(changed.error(), "secret not written");
  Change change;
  change.before = changed.value().before;
  change.only_value = !request.hosts && !request.label && !request.grants;
  co_await changed_(std::move(change));
  co_return std::move(changed.value().now);
}

Task<Result<void>> Secrets::remove(std::string reference, Principal who) {
  HAKO_CO_TRYV(kept());
  auto work = [reference, who](Store& store) -> Result<SecretRecord> {
    HAKO_TRY(auto secret, find_to_change(store, reference, who));
    HAKO_TRYV(store.secrets().remove_secret(secret.id));
    return secret;
  };
  auto removed = co_await store_.with_all(std::move(work));
  if (!removed) co_return secret_error(removed.error(), "secret not removed");
  Change change;
  change.before = std::move(removed.value());
  co_await changed_(std::move(change));
  co_return ok();
}

}  // namespace hako::api
