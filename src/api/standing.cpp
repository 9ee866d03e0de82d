#include "api/standing.h"

#include "api/now.h"

namespace hako::api {
using store::TenantStore;

Result<std::string> present_state(TenantStore& store, const std::string& key_id,
                                  const std::string& tenant) {
  HAKO_TRY(auto key, store.find_key_by_id(key_id));
  HAKO_TRY(auto where, store.find_tenant(tenant));
  if (!key || !where) return std::string();
  return state_of(*key, key->hash, *where);
}

Result<std::optional<Secret>> secret_in_state(TenantStore& store, const std::string& key_id,
                                              const std::string& tenant,
                                              const std::string& state) {
  HAKO_TRY(auto key, store.find_key_by_id(key_id));
  HAKO_TRY(auto where, store.find_tenant(tenant));
  if (!key || !where) return std::optional<Secret>();
  if (state == state_of(*key, key->hash, *where)) return std::optional<Secret>(Secret{key->hash});
  bool old_counts = !key->old_hash.empty() && unix_now_ms() < key->old_until_ms;
  if (!old_counts || state != state_of(*key, key->old_hash, *where)) {
    return std::optional<Secret>();
  }
  return std::optional<Secret>(Secret{key->old_hash, key->old_until_ms});
}

Result<std::optional<Grant>> standing_now(TenantStore& store, Grant grant,
                                          const std::string& tenant) {
  HAKO_TRY(auto secret, secret_in_state(store, grant.key_id, tenant, grant.key_state));
  if (!secret) return std::optional<Grant>();
  HAKO_TRY(auto key, store.find_key_by_id(grant.key_id));
  HAKO_TRY(auto home, store.find_tenant(key ? key->tenant : tenant));
  // The operator's key is in no tenant that can be suspended to any effect.
  bool is_operator = key && policy::role_from(key->role) == policy::Role::platform;
  if (!key || !home || (home->suspended && !is_operator)) return std::optional<Grant>();
  if (!grant.token_id.empty()) {
    HAKO_TRY(bool revoked, store.is_token_revoked(grant.token_id));
    if (revoked) return std::optional<Grant>();
  }
  if (secret->until_ms != 0 && (grant.expires_ms == 0 || secret->until_ms < grant.expires_ms)) {
    grant.expires_ms = secret->until_ms;
  }
  return std::optional<Grant>(std::move(grant));
}

Result<bool> still_stands(TenantStore& store, const Grant& grant, const std::string& tenant) {
  HAKO_TRY(auto standing, standing_now(store, grant, tenant));
  return standing.has_value();
}

}  // namespace hako::api
