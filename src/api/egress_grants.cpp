// Who is let into sandboxes, and who no longer: one part of EgressControl.
#include <algorithm>

#include "api/egress_control.h"
#include "api/grants.h"
#include "api/now.h"
#include "api/standing.h"
#include "base/log.h"

namespace hako::api {
using store::SandboxRecord;
using store::TenantStore;

namespace {

int64_t grants_now() {
  return unix_now_ms();
}

/// Whether the gate knows it already.
bool has_grant(const SandboxRecord& record, const Grant& grant) {
  Grants grants = parse_grants(record.grants);
  const Grant* found = find_grant(grants, grant.token, grants_now());
  return found && found->narrowed <= grant.narrowed;
}

/// What of `grants` still stands.
Result<Grants> standing(TenantStore& store, const Grants& grants, const std::string& tenant) {
  Grants left;
  for (const Grant& grant : grants) {
    HAKO_TRY(auto stands, standing_now(store, grant, tenant));
    if (!stands) continue;
    bool expired = stands->expires_ms != 0 && stands->expires_ms <= grants_now();
    if (!expired) left.push_back(std::move(*stands));
  }
  return left;
}

/// Whether anything in the sandbox was given by what has changed. The operator's key is in all
/// tenants.
bool concerns(const KeyChange& change, const SandboxRecord& record) {
  if (change.key_id.empty()) return change.tenant.empty() || record.tenant == change.tenant;
  Grants grants = parse_grants(record.grants);
  return std::any_of(grants.begin(), grants.end(), [&](const Grant& grant) {
    return grant.key_id == change.key_id &&
           (change.token_id.empty() || grant.token_id == change.token_id);
  });
}

}  // namespace

Task<Result<SandboxRecord>> EgressControl::give_access(SandboxRecord record, Principal who,
                                                       Room room) {
  auto grant = grant_for(who, record);
  if (!grant || has_grant(record, *grant)) co_return record;
  auto turn = co_await changes_.take();
  HAKO_CO_TRY(record, co_await sandboxes_.find(record.id, who));
  grant = grant_for(who, record);
  if (!grant || has_grant(record, *grant)) co_return record;
  // Whoever takes it away waits for this turn, and finds what is added here.
  auto check = [given = *grant, tenant = record.tenant](TenantStore& store) {
    return still_stands(store, given, tenant);
  };
  auto stands = co_await store_.with_tenants(std::move(check));
  if (!stands) co_return error_for_user(stands.error(), "key not looked up");
  if (!stands.value()) co_return Error(ErrorCode::unauthenticated, "the API key is not valid");
  Grants grants = parse_grants(record.grants);
  HAKO_CO_TRYV(add_grant(grants, std::move(*grant), grants_now(), room));
  record.grants = write_grants(grants);
  HAKO_CO_TRYV(co_await tell_node(record, read_policy(record.egress)));
  HAKO_CO_TRYV(co_await write(record));
  co_return record;
}

Task<Result<void>> EgressControl::drop_stale_grants(KeyChange change) {
  // For the whole of it, so that nobody gives meanwhile what is taken here.
  auto turn = co_await changes_.take();
  auto records = co_await store_.all_sandboxes();
  if (!records) co_return error_for_user(records.error(), "records not read");
  Result<void> outcome = ok();
  for (SandboxRecord& record : records.value()) {
    if (!concerns(change, record)) continue;
    auto dropped = co_await drop_stale_of(std::move(record));
    bool gone = !dropped && dropped.error().code() == ErrorCode::not_found;
    if (!dropped && !gone) outcome = dropped.error();
  }
  co_return outcome;
}

Task<Result<bool>> EgressControl::drop_stale_of(SandboxRecord record) {
  Grants grants = parse_grants(record.grants);
  if (grants.empty()) co_return false;
  auto work = [grants, tenant = record.tenant](TenantStore& store) {
    return standing(store, grants, tenant);
  };
  auto left = co_await store_.with_tenants(std::move(work));
  if (!left) co_return error_for_user(left.error(), "keys not read");
  if (left.value() == grants) co_return false;
  bool ports_known = false;
  for (const Grant& grant : grants) {
    if (is_of_before(grant, record) && !find_grant(left.value(), grant.token, grants_now())) {
      ports_known = true;
    }
  }
  record.grants = write_grants(left.value());
  if (ports_known && !record.traffic_token.empty()) record.traffic_token = new_token();
  // Written first: whatever happens now, it ends at the gate as soon as that can be told.
  HAKO_CO_TRYV(co_await write(record));
  HAKO_CO_TRYV(co_await tell_node(record, read_policy(record.egress)));
  doubtful_.erase(record.id);
  sandboxes_.note(record.id, "access of a key or token that changed was ended");
  co_return true;
}

Task<Result<void>> EgressControl::take_over_old_tokens() {
  HAKO_CO_TRY(auto records, co_await store_.all_sandboxes());
  for (SandboxRecord& record : records) {
    bool has_token = !record.access_token.empty() || !record.traffic_token.empty();
    if (!record.grants.empty() || !has_token) continue;
    auto work = [key = record.key_id, tenant = record.tenant](TenantStore& store) {
      return present_state(store, key, tenant);
    };
    HAKO_CO_TRY(auto state, co_await store_.with_tenants(std::move(work)));
    Grants grants{grant_of_before(record, std::move(state))};
    record.grants = write_grants(grants);
    HAKO_CO_TRYV(co_await write(record));
  }
  co_return ok();
}

}  // namespace hako::api
