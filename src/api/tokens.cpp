#include "api/tokens.h"

#include "api/egress_policy.h"
#include "api/field_reader.h"
#include "api/now.h"
#include "api/token_keys.h"
#include "base/random.h"
#include "policy/caveat.h"
#include "policy/narrowing_json.h"

namespace hako::api {
namespace json = boost::json;
using store::ApiKey;
using store::TenantStore;

namespace {

constexpr size_t kIdentifierBytes = 8;
constexpr size_t kLongestIdentifier = 128;

Error no_token() {
  return Error(ErrorCode::not_found, "token not found");
}

/// "k1" of "k1.0123456789abcdef"; empty if it is no identifier.
std::string key_of(std::string_view identifier) {
  size_t dot = identifier.find('.');
  bool whole = dot != std::string_view::npos &&
               identifier.size() == dot + 1 + 2 * kIdentifierBytes &&
               identifier.find_first_not_of("0123456789abcdef", dot + 1) == std::string_view::npos;
  return whole ? std::string(identifier.substr(0, dot)) : std::string();
}

bool is_token_of(const wire::Macaroon& token, const ApiKey& key, std::string_view master) {
  if (wire::verify(token, token_root_key(master, key.id, key.hash))) return true;
  if (key.old_hash.empty()) return false;
  return wire::verify(token, token_root_key(master, key.id, key.old_hash));
}

/// Whether a token of the operator is to be for all tenants: only where that is what was asked for, of
/// whoever may act in all.
bool is_to_roam(const policy::Narrowing& wanted, const Principal& who) {
  return who.is_operator && wanted.actions &&
         policy::actions_left(wanted).has(policy::Action::tenant_manage);
}

/// What is left of the permission of `who` with `wanted` on top must be something.
Result<void> leaves_something(const policy::Narrowing& wanted, const Principal& who) {
  policy::Permission permission = who.permission;
  policy::PermissionLayer layer;
  layer.name = "request";
  layer.leaves = wanted;
  permission.push_back(std::move(layer));
  policy::Effective left = policy::effective(permission);
  std::string why = left.contradiction;
  if (why.empty() && left.actions.empty()) why = "no action would be left";
  bool expired = left.expires_ms && *left.expires_ms <= unix_now_ms();
  if (why.empty() && expired) why = "it would have expired";
  if (why.empty()) return ok();
  return Error(ErrorCode::permission_denied, "the token would be good for nothing: " + why);
}

Result<wire::Macaroon> narrow(wire::Macaroon token, const policy::Narrowing& wanted) {
  for (const std::string& caveat : policy::to_caveats(wanted)) {
    HAKO_TRY(token, wire::narrow(std::move(token), caveat));
  }
  return token;
}

}  // namespace

Result<policy::Narrowing> parse_token_request(std::string_view body) {
  HAKO_TRY(auto object, parse_body(body));
  return policy::narrowing_from(object);
}

Result<Revocation> parse_revocation(std::string_view body) {
  HAKO_TRY(auto object, parse_body(body));
  FieldReader reader(object);
  reader.allow_only({"token", "tokenID"});
  auto token = reader.text("token", wire::kLongestMacaroon);
  auto identifier = reader.text("tokenID", kLongestIdentifier);
  if (bool(token) == bool(identifier)) reader.fail("token", "or tokenID is required, one of them");
  HAKO_TRYV(reader.outcome());
  Revocation what;
  if (token) {
    HAKO_TRY(what.token, wire::parse_macaroon(*token));
    what.identifier = what.token->identifier;
  } else {
    what.identifier = *identifier;
  }
  return what;
}

Task<Result<MintedToken>> Tokens::mint(policy::Narrowing wanted, Principal who, std::string shown) {
  // The operator acts in whatever tenant a request names; a token of theirs stays in this one.
  if (who.roams && !wanted.tenant && !is_to_roam(wanted, who)) wanted.tenant = who.tenant;
  HAKO_CO_TRYV(leaves_something(wanted, who));
  wire::Macaroon token;
  if (!who.token_id.empty()) {
    HAKO_CO_TRY(token, wire::parse_macaroon(shown));
  } else {
    auto work = [who](TenantStore& tenants) { return still_valid(tenants, who); };
    auto secret = co_await store_.with_tenants(std::move(work));
    if (!secret) co_return key_error(secret.error(), "key not read");
    // Of the secret that was shown: the token ends when that does.
    std::string root = token_root_key(master_, who.key_id, secret.value().hash);
    HAKO_CO_TRY(token, wire::mint(root, who.key_id + "." + random_hex(kIdentifierBytes)));
  }
  MintedToken minted;
  HAKO_CO_TRY(minted.token, narrow(std::move(token), wanted));
  minted.text = wire::to_string(minted.token);
  co_return minted;
}

Task<Result<void>> Tokens::revoke(Revocation what, Principal who) {
  // Whether it is new.
  auto work = [what, who, master = master_](TenantStore& tenants) -> Result<bool> {
    HAKO_TRYV(still_valid(tenants, who));
    std::string key_id = key_of(what.identifier);
    if (key_id.empty()) return no_token();
    HAKO_TRY(auto key, tenants.find_key_by_id(key_id));
    bool own = who.key_id == key_id && who.token_id.empty();
    bool manages = policy::may(who.permission, policy::Action::key_manage, unix_now_ms()).allowed;
    if (!key || !(own || (manages && sees_key(who, *key)))) return no_token();
    if (!own) {
      HAKO_TRYV(may_still_manage(tenants, who));
      HAKO_TRYV(may_manage(who, *key));
    }
    if (what.token && !is_token_of(*what.token, *key, master)) {
      return Error(ErrorCode::invalid_argument, "this token is of no key as it is now");
    }
    HAKO_TRYV(tenants.forget_revoked_before(unix_now_ms()));
    HAKO_TRY(bool known, tenants.is_token_revoked(what.identifier));
    if (known) return false;
    HAKO_TRY(int64_t revoked, tenants.count_revoked(key_id));
    if (revoked >= kMostRevoked) {
      return Error(ErrorCode::resource_exhausted,
                   "too many tokens of this key are revoked: rotate it, which ends all of them");
    }
    // Whatever end this copy has, there may be others of the same token that have a later one.
    HAKO_TRYV(tenants.revoke_token(what.identifier, key_id, INT64_MAX));
    return true;
  };
  auto revoked = co_await store_.with_tenants(std::move(work));
  if (!revoked) co_return key_error(revoked.error(), "token not revoked");
  if (!revoked.value()) co_return ok();
  KeyChange change{who.tenant, key_of(what.identifier), what.identifier};
  co_await changed_(std::move(change));
  co_return ok();
}

}  // namespace hako::api
