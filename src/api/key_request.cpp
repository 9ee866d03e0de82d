#include "api/key_request.h"

#include <algorithm>

#include "api/egress_policy.h"
#include "api/field_reader.h"
#include "api/keys.h"
#include "base/clock.h"
#include "policy/narrowing_json.h"

namespace hako::api {
namespace json = boost::json;
using policy::Narrowing;
using policy::Role;
using store::ApiKey;

namespace {

constexpr size_t kLongestKeyUser = 128;
constexpr size_t kLongestKeyName = 256;
constexpr size_t kLongestRole = 64;
constexpr int64_t kLongestGrace = 7 * 24 * 3600;

void read_role(FieldReader& reader, KeyRequest& request) {
  auto word = reader.text("role", kLongestRole);
  if (!word) return;
  request.role = policy::role_from(*word);
  if (!request.role || *request.role == Role::platform) {
    request.role.reset();
    reader.fail("role", "must be owner, member, viewer or auditor");
  }
}

void read_key_policy(FieldReader& reader, KeyRequest& request) {
  const json::object* object = reader.object("policy");
  if (!object) return;
  auto narrowing = policy::narrowing_from(*object);
  if (!narrowing) {
    reader.fail("policy", "is wrong: " + narrowing.error().message());
  } else if (narrowing.value().tenant) {
    reader.fail("policy.tenant", "must not be there: a key is of the tenant it is made in");
  } else {
    request.policy = std::move(narrowing.value());
  }
}

/// All that the request wants to be left is in one narrowing; the record has two of its members in
/// places of their own.
void put_policy(Narrowing policy, ApiKey& key) {
  key.clearance = to_string(policy.label.value_or(policy::Label::public_data));
  // Zero stands for never, and must not come of a time long ago.
  key.expires_ms = policy.expires_ms ? std::max<int64_t>(*policy.expires_ms, 1) : 0;
  policy.label.reset();
  policy.expires_ms.reset();
  json::object object = policy::to_json(policy);
  key.narrowing = object.empty() ? std::string() : json::serialize(object);
}

/// What only `who` themself adds to what holds in their tenant.
policy::Permission own_layers(const Principal& who) {
  policy::Permission own;
  for (const policy::PermissionLayer& layer : who.permission) {
    bool shared = layer.name == "platform" || layer.name.starts_with("tenant ");
    if (!shared) own.push_back(layer);
  }
  return own;
}

}  // namespace

Result<KeyRequest> parse_key_request(std::string_view body) {
  HAKO_TRY(auto object, parse_body(body));
  FieldReader reader(object);
  reader.allow_only({"role", "user", "name", "policy"});
  KeyRequest request;
  read_role(reader, request);
  request.user = reader.text("user", kLongestKeyUser);
  request.name = reader.text("name", kLongestKeyName);
  read_key_policy(reader, request);
  HAKO_TRYV(reader.outcome());
  return request;
}

Result<int64_t> parse_rotation(std::string_view body) {
  HAKO_TRY(auto object, parse_body(body));
  FieldReader reader(object);
  reader.allow_only({"grace"});
  auto grace = reader.number("grace", 0, kLongestGrace);
  HAKO_TRYV(reader.outcome());
  return grace.value_or(0);
}

void apply(const KeyRequest& request, ApiKey& key) {
  if (request.role) key.role = to_string(*request.role);
  if (request.user) key.user = *request.user;
  if (request.name) key.label = *request.name;
  if (request.policy) put_policy(*request.policy, key);
}

json::object key_json(const ApiKey& key, int64_t now_ms) {
  json::object object;
  object["keyID"] = key.id;
  object["tenant"] = key.tenant;
  object["role"] = key.role;
  object["user"] = key.user;
  object["name"] = key.label;
  auto policy = policy_of(key);
  object["policy"] = policy ? policy::to_json(policy.value()) : json::object();
  object["createdAt"] = to_rfc3339(from_unix_ms(key.created_ms));
  if (!key.old_hash.empty() && key.old_until_ms > now_ms) {
    object["oldSecretUntil"] = to_rfc3339(from_unix_ms(key.old_until_ms));
  }
  return object;
}

bool sees_key(const Principal& who, const ApiKey& key) {
  if (key.tenant != who.tenant) return false;
  if (policy::role_from(key.role) == Role::platform) return who.is_operator;
  auto narrowing = policy_of(key);
  // One that cannot be read can be ended by those who see the whole tenant.
  if (!narrowing) return who.agent.empty();
  return policy::is_at_or_below(narrowing.value().agent.value_or(""), who.agent);
}

Result<void> may_manage(const Principal& who, const ApiKey& key) {
  // A key is never wider than itself, however its boxes are counted.
  if (key.id == who.key_id && who.token_id.empty()) return ok();
  HAKO_TRY(auto leaves, narrowing_of(key));
  policy::Decision decision = policy::is_within(own_layers(who), leaves);
  if (!decision.allowed) return refused_by(decision);
  return ok();
}

}  // namespace hako::api
