#include "api/standing.h"

namespace hako::api {
using store::TenantStore;

Result<std::string> present_state(TenantStore& store, const std::string& key_id,
                                  const std::string& tenant) {
  HAKO_TRY(auto key, store.find_key_by_id(key_id));
  HAKO_TRY(auto where, store.find_tenant(tenant));
  if (!key || !where) return std::string();
  return state_of(*key, *where);
}

Result<bool> still_stands(TenantStore& store, const Grant& grant, const std::string& tenant) {
  HAKO_TRY(auto state, present_state(store, grant.key_id, tenant));
  if (state.empty() || state != grant.key_state) return false;
  HAKO_TRY(auto key, store.find_key_by_id(grant.key_id));
  HAKO_TRY(auto home, store.find_tenant(key ? key->tenant : tenant));
  // The operator's key is in no tenant that can be suspended to any effect.
  bool is_operator = key && policy::role_from(key->role) == policy::Role::platform;
  if (!key || !home || (home->suspended && !is_operator)) return false;
  if (grant.token_id.empty()) return true;
  HAKO_TRY(bool revoked, store.is_token_revoked(grant.token_id));
  return !revoked;
}

Result<bool> may_go_on(TenantStore& store, const Principal& who, policy::Action action,
                       int64_t now_ms) {
  if (!policy::may(who.permission, action, now_ms).allowed) return false;
  return still_stands(store, basis_of(who), who.tenant);
}

}  // namespace hako::api
