#include "api/principal.h"

#include <openssl/sha.h>

#include <algorithm>

#include "api/tenants.h"
#include "base/encoding.h"
#include "policy/caveat.h"
#include "policy/narrowing_json.h"

namespace hako::api {
namespace json = boost::json;
using policy::Narrowing;
using policy::PermissionLayer;

namespace {

constexpr size_t kFingerprintDigits = 16;

/// The narrowing that a record holds. Nothing but "" stands for none.
Result<Narrowing> read_narrowing(const std::string& stored, const std::string& whose) {
  if (stored.empty()) return Narrowing();
  json::error_code bad;
  json::value value = json::parse(stored, bad);
  const json::object* object = bad ? nullptr : value.if_object();
  if (!object) return Error(ErrorCode::corrupted, whose + ": what it narrows cannot be read");
  auto narrowing = policy::narrowing_from(*object);
  if (!narrowing) {
    return Error(ErrorCode::corrupted, whose + ": " + narrowing.error().message());
  }
  return narrowing;
}

PermissionLayer platform_layer(const config::Config& config) {
  PermissionLayer layer;
  layer.name = "platform";
  // Sizes are the operator's limits on what is asked for, and not on what a template has.
  layer.leaves.ttl_s = config.max_ttl.count();
  return layer;
}

Result<PermissionLayer> tenant_layer(const store::TenantRecord& tenant) {
  PermissionLayer layer;
  layer.name = "tenant " + tenant.name;
  HAKO_TRY(layer.leaves, policy_of(tenant));
  layer.leaves.tenant = tenant.name;
  if (policy::counts(layer.leaves)) layer.budget = budget_of_tenant(tenant.name);
  return layer;
}

template <class T>
void take_lower(std::optional<T>& into, T other) {
  into = into ? std::min(*into, other) : other;
}

Result<PermissionLayer> key_layer(const store::ApiKey& key) {
  PermissionLayer layer;
  layer.name = "key " + key.id;
  HAKO_TRY(layer.leaves, narrowing_of(key));
  if (policy::counts(layer.leaves)) layer.budget = budget_of_key(key.id);
  return layer;
}

/// While two secrets of a key count, the one that is on its way out manages no keys: whoever has got
/// hold of it could lock out those who have the new one.
PermissionLayer old_secret_layer(const store::ApiKey& key) {
  PermissionLayer layer;
  layer.name = "old secret of key " + key.id;
  layer.leaves.actions = policy::ActionSet::all().without({policy::Action::key_manage});
  layer.leaves.expires_ms = key.old_until_ms;
  return layer;
}

/// 16 digits that stand for `bytes`, and tell nobody what these are.
std::string fingerprint(std::string_view bytes) {
  unsigned char digest[SHA256_DIGEST_LENGTH];
  // SAFETY: any text is bytes to the hash; the views have the lengths that are passed.
  SHA256(reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(), digest);
  std::string hex = hex_encode({reinterpret_cast<const char*>(digest), sizeof digest});
  return hex.substr(0, kFingerprintDigits);
}

/// Of what a record narrows, that which counts inside of boxes.
std::string inside_part(const std::string& stored) {
  auto narrowing = read_narrowing(stored, "");
  if (!narrowing) return stored;
  Narrowing part;
  part.agent = narrowing.value().agent;
  part.sandboxes = narrowing.value().sandboxes;
  part.actions = narrowing.value().actions;
  part.label = narrowing.value().label;
  part.expires_ms = narrowing.value().expires_ms;
  return json::serialize(policy::to_json(part));
}

/// One of the operator's that is for a single tenant manages none of the others. The layer that says
/// where the operator acts now is not of this kind.
void bind_to_tenant(Narrowing& leaves) {
  if (!leaves.tenant) return;
  leaves.actions =
      leaves.actions.value_or(policy::ActionSet::all()).without({policy::Action::tenant_manage});
}

Result<PermissionLayer> caveat_layer(const Credential& credential, size_t index) {
  PermissionLayer layer;
  layer.name = "token caveat " + std::to_string(index + 1);
  auto leaves = policy::parse_caveat(credential.caveats[index]);
  if (!leaves) {
    return Error(ErrorCode::unauthenticated,
                 "the token is not valid: caveat " + std::to_string(index + 1) + ": " +
                     leaves.error().message());
  }
  layer.leaves = std::move(leaves.value());
  bind_to_tenant(layer.leaves);
  if (policy::counts(layer.leaves)) layer.budget = fingerprint(credential.signatures[index]);
  return layer;
}

bool is_of_the_platform(const store::ApiKey& key) {
  return policy::role_from(key.role) == policy::Role::platform;
}

/// Whether this is the operator's key, or a token of it that takes nothing of that away.
bool has_the_platform(const store::ApiKey& key, const policy::Effective& left) {
  return is_of_the_platform(key) && left.contradiction.empty() &&
         left.actions.has(policy::Action::tenant_manage) && left.agent.empty() && !left.sandboxes;
}

}  // namespace

Result<Narrowing> policy_of(const store::ApiKey& key) {
  HAKO_TRY(auto leaves, read_narrowing(key.narrowing, "key " + key.id));
  take_lower(leaves.label, clearance_of(key.clearance));
  if (key.expires_ms != 0) take_lower(leaves.expires_ms, key.expires_ms);
  return leaves;
}

Result<Narrowing> narrowing_of(const store::ApiKey& key) {
  HAKO_TRY(auto leaves, policy_of(key));
  auto role = policy::role_from(key.role);
  // A role that nobody knows is good for nothing.
  policy::ActionSet of_role = role ? policy::actions_of(*role) : policy::ActionSet();
  leaves.actions = leaves.actions ? *leaves.actions & of_role : of_role;
  if (role != policy::Role::platform) leaves.tenant = key.tenant;
  return leaves;
}

std::string budget_of_key(std::string_view key_id) {
  return "key:" + std::string(key_id);
}

std::string budget_of_tenant(std::string_view tenant) {
  return "tenant:" + std::string(tenant);
}

Result<Narrowing> policy_of(const store::TenantRecord& tenant) {
  return read_narrowing(tenant.policy, "tenant " + tenant.name);
}

std::string state_of(const store::ApiKey& key, std::string_view hash,
                     const store::TenantRecord& tenant) {
  json::array parts;
  for (const std::string& part : {key.id, std::string(hash), key.tenant, key.role, key.clearance,
                                  std::to_string(key.expires_ms), inside_part(key.narrowing),
                                  tenant.name, inside_part(tenant.policy)}) {
    parts.emplace_back(part);
  }
  return fingerprint(json::serialize(parts));
}

Result<Principal> make_principal(const Credential& credential, const config::Config& config) {
  Principal who;
  who.key_id = credential.key.id;
  who.token_id = credential.token_id;
  const store::ApiKey& shown = credential.key;
  who.key_state =
      state_of(shown, credential.old_secret ? shown.old_hash : shown.hash, credential.tenant);
  who.user = credential.key.user;
  who.tenant = credential.tenant.name;
  HAKO_TRY(who.quota, read_quota(credential.tenant.quota));
  who.permission.push_back(platform_layer(config));
  HAKO_TRY(auto tenant, tenant_layer(credential.tenant));
  who.permission.push_back(std::move(tenant));
  HAKO_TRY(auto key, key_layer(credential.key));
  who.permission.push_back(std::move(key));
  if (credential.old_secret) who.permission.push_back(old_secret_layer(credential.key));
  who.narrowed = credential.caveats.size();
  who.roams = is_of_the_platform(credential.key);
  for (size_t i = 0; i < credential.caveats.size(); ++i) {
    HAKO_TRY(auto caveat, caveat_layer(credential, i));
    if (caveat.leaves.tenant) who.roams = false;
    who.permission.push_back(std::move(caveat));
  }
  policy::Effective left = policy::effective(who.permission);
  who.agent = left.agent;
  who.clearance = left.label;
  who.is_operator = has_the_platform(credential.key, left);
  // The key's always: so that a limit which it gets later counts what is there by then.
  who.budgets.push_back(budget_of_key(credential.key.id));
  for (const PermissionLayer& layer : who.permission) {
    // All that a tenant has counts for it anyway.
    if (layer.budget == budget_of_tenant(who.tenant)) continue;
    bool known = std::find(who.budgets.begin(), who.budgets.end(), layer.budget) !=
                 who.budgets.end();
    if (!layer.budget.empty() && !known) who.budgets.push_back(layer.budget);
  }
  return who;
}

Principal nobody() {
  PermissionLayer nothing;
  nothing.name = "nobody";
  nothing.leaves.actions = policy::ActionSet();
  Principal who;
  who.permission.push_back(std::move(nothing));
  return who;
}

Principal itself() {
  Principal who;
  who.clearance = policy::Label::secret;
  return who;
}

}  // namespace hako::api
