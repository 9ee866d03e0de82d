#include "api/authority.h"

#include <algorithm>

#include "api/keys.h"
#include "api/now.h"
#include "api/token_keys.h"
#include "api/user_error.h"
#include "api/walls.h"
#include "policy/caveat.h"
#include "wire/macaroon.h"

namespace hako::api {
using store::ApiKey;
using store::TenantRecord;
using store::TenantStore;

namespace {

Error not_valid() {
  return Error(ErrorCode::unauthenticated, "the API key is not valid");
}

/// Of a name that a request says. What no tenant can be called need not be repeated.
constexpr size_t kLongestTenant = 64;

/// "k1" of "k1.0123456789abcdef".
std::string key_of(const std::string& identifier) {
  return identifier.substr(0, identifier.find('.'));
}

bool is_platform(const ApiKey& key) {
  return policy::role_from(key.role) == policy::Role::platform;
}

/// Whether one of the operator's is still for all tenants: one that does not manage them acts where it
/// is said to, and no header moves it.
bool is_for_all_tenants(const std::vector<std::string>& caveats) {
  return std::all_of(caveats.begin(), caveats.end(), [](const std::string& caveat) {
    auto leaves = policy::parse_caveat(caveat);
    // What nobody understands is refused later, by name.
    return !leaves || policy::actions_left(leaves.value()).has(policy::Action::tenant_manage);
  });
}

/// The tenant that a token says it is for, which alone decides where one of the operator's acts.
std::string tenant_of(const std::vector<std::string>& caveats) {
  for (const std::string& caveat : caveats) {
    auto leaves = policy::parse_caveat(caveat);
    if (leaves && leaves.value().tenant) return *leaves.value().tenant;
  }
  return "";
}

}  // namespace

Error unknown_tenant(std::string_view name) {
  if (!policy::is_tenant_name(name)) return Error(ErrorCode::not_found, "tenant not found");
  return Error(ErrorCode::not_found,
               "tenant " + std::string(name.substr(0, kLongestTenant)) + " not found");
}

/// What the store knows of a key, its tenant and a token.
struct Authority::Found {
  std::optional<ApiKey> key;
  std::optional<TenantRecord> tenant;
  bool token_revoked = false;
};

Task<Result<Principal>> Authority::authenticate(const http::RequestHead& head) {
  std::string shown(head.header(kKeyHeader));
  if (shown.empty()) {
    co_return Error(ErrorCode::unauthenticated, "an API key is required in the header X-API-Key");
  }
  bool token = wire::looks_like_macaroon(shown);
  auto finding = token ? by_token(std::move(shown)) : by_key(std::move(shown));
  HAKO_CO_TRY(auto credential, co_await std::move(finding));
  // The operator's own key keeps nobody in a suspended tenant, but can mend it.
  if (credential.tenant.suspended && !is_platform(credential.key)) {
    co_return Error(ErrorCode::permission_denied,
                    "the tenant is suspended; ask the operator (rule tenant.suspended)");
  }
  HAKO_CO_TRYV(co_await choose_tenant(credential, std::string(head.header(kTenantHeader))));
  auto who = make_principal(credential, config_);
  if (!who && who.error().code() == ErrorCode::corrupted) {
    co_return error_for_user(who.error(), "permission not read");
  }
  if (!who) co_return who.error();
  auto expires = policy::effective(who.value().permission).expires_ms;
  if (expires && *expires <= unix_now_ms() && stands(Wall::expiry)) {
    co_return Error(ErrorCode::unauthenticated,
                    token ? "the token has expired" : "the API key has expired");
  }
  co_return std::move(who);
}

Task<Result<Credential>> Authority::by_key(std::string key) {
  if (!is_api_key(key)) co_return not_valid();
  std::string hash = hash_api_key(key);
  auto work = [hash, at = unix_now_ms()](TenantStore& store) -> Result<Found> {
    Found found;
    HAKO_TRY(found.key, store.find_key(hash, at));
    if (!found.key) return found;
    HAKO_TRY(found.tenant, store.find_tenant(found.key->tenant));
    return found;
  };
  auto found = co_await store_.with_tenants(std::move(work));
  if (!found) co_return error_for_user(found.error(), "key not looked up");
  if (!found.value().key || !found.value().tenant) co_return not_valid();
  Credential credential;
  credential.key = std::move(*found.value().key);
  credential.old_secret = credential.key.hash != hash;
  credential.tenant = std::move(*found.value().tenant);
  co_return credential;
}

Task<Result<Authority::Found>> Authority::look_up(std::string key_id, std::string token_id) {
  auto work = [key_id, token_id](TenantStore& store) -> Result<Found> {
    Found found;
    HAKO_TRY(found.key, store.find_key_by_id(key_id));
    std::string tenant = found.key ? found.key->tenant : store::kDefaultTenant;
    HAKO_TRY(found.tenant, store.find_tenant(tenant));
    HAKO_TRY(found.token_revoked, store.is_token_revoked(token_id));
    return found;
  };
  auto found = co_await store_.with_tenants(std::move(work));
  if (!found) co_return error_for_user(found.error(), "key not looked up");
  co_return std::move(found);
}

Task<Result<Credential>> Authority::by_token(std::string text) {
  auto parsed = wire::parse_macaroon(text);
  if (!parsed) co_return not_valid();
  const wire::Macaroon& token = parsed.value();
  HAKO_CO_TRY(auto found, co_await look_up(key_of(token.identifier), token.identifier));
  // An unknown key has a root key as well, which nobody's token was ever made with, and one that was
  // never rotated has an old hash: so that all take the same work.
  ApiKey key = found.key.value_or(ApiKey());
  std::string root = token_root_key(master_, key.id, key.hash);
  std::string old_root = token_root_key(master_, key.id, key.old_hash);
  bool is_current = wire::verify(token, root);
  bool is_old = wire::verify(token, old_root);
  bool old_counts = !key.old_hash.empty() && unix_now_ms() < key.old_until_ms;
  bool counts = is_current || (is_old && old_counts);
  if (!found.key || !found.tenant || !counts) co_return not_valid();
  if (found.token_revoked && stands(Wall::revocation)) {
    co_return Error(ErrorCode::unauthenticated, "the token has been revoked");
  }
  Credential credential;
  credential.key = std::move(key);
  credential.old_secret = !is_current;
  credential.tenant = std::move(*found.tenant);
  credential.token_id = token.identifier;
  credential.caveats = token.caveats;
  credential.signatures = wire::signatures_of(token, is_current ? root : old_root);
  co_return credential;
}

Task<Result<void>> Authority::choose_tenant(Credential& credential, std::string asked) {
  if (!is_platform(credential.key)) {
    if (asked.empty() || asked == credential.key.tenant) co_return ok();
    co_return unknown_tenant(asked);
  }
  std::string bound = tenant_of(credential.caveats);
  std::string wanted = asked.empty() ? bound : asked;
  if (wanted.empty() || wanted == credential.tenant.name) co_return ok();
  if (bound.empty() && !is_for_all_tenants(credential.caveats)) co_return unknown_tenant(wanted);
  if (!policy::is_tenant_name(wanted)) co_return unknown_tenant(wanted);
  auto work = [wanted](TenantStore& store) { return store.find_tenant(wanted); };
  auto found = co_await store_.with_tenants(std::move(work));
  if (!found) co_return error_for_user(found.error(), "tenant not read");
  if (!found.value()) co_return unknown_tenant(wanted);
  credential.tenant = std::move(*found.value());
  co_return ok();
}

}  // namespace hako::api
