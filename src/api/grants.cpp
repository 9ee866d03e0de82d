#include "api/grants.h"

#include <algorithm>

#include "base/encoding.h"
#include "wire/macaroon.h"
#include "wire/signature.h"

namespace hako::api {
namespace json = boost::json;
using policy::Action;
using policy::ActionSet;
using store::SandboxRecord;

namespace {

constexpr size_t kTokenDigits = 40;
constexpr std::string_view kOwnKey = "api";
/// What a grant can be good for at all.
constexpr ActionSet kGrantable = {Action::sandbox_exec, Action::files_read, Action::files_write,
                                  Action::sandbox_ports, Action::sandbox_read};

/// The secret that only the guest and we know; for one that wants none, that of its ports.
const std::string& secret_of(const SandboxRecord& record) {
  return record.access_token.empty() ? record.traffic_token : record.access_token;
}

std::string derive(const SandboxRecord& record, std::string_view what) {
  std::string message = "grant\n" + record.id + "\n" + std::string(what);
  return hex_encode(wire::hmac_sha256(secret_of(record), message)).substr(0, kTokenDigits);
}

/// One line for each thing, none of which can hold a line's end.
std::string canonical(const Grant& grant, const std::vector<std::string>& budgets) {
  std::string text = grant.key_id + "\n" + grant.token_id + "\n" + grant.key_state + "\n" +
                     policy::to_string(grant.actions) + "\n" +
                     std::string(to_string(grant.clearance)) + "\n" +
                     std::to_string(grant.expires_ms);
  for (const std::string& budget : budgets) text += "\n" + budget;
  return text;
}

json::object to_json(const Grant& grant) {
  json::object object;
  object["token"] = grant.token;
  object["key"] = grant.key_id;
  if (!grant.token_id.empty()) object["tokenID"] = grant.token_id;
  object["state"] = grant.key_state;
  object["actions"] = policy::to_string(grant.actions);
  object["clearance"] = std::string(to_string(grant.clearance));
  object["expires"] = grant.expires_ms;
  object["given"] = grant.given_ms;
  object["narrowed"] = grant.narrowed;
  return object;
}

std::optional<Grant> read_grant(const json::value& value) {
  const json::object* object = value.if_object();
  if (!object) return std::nullopt;
  auto text = [&](std::string_view name) {
    const json::value* found = object->if_contains(json::string_view(name.data(), name.size()));
    return found && found->is_string() ? std::string(found->get_string()) : std::string();
  };
  auto number = [&](std::string_view name) -> std::optional<int64_t> {
    const json::value* found = object->if_contains(json::string_view(name.data(), name.size()));
    if (!found || !found->is_int64()) return std::nullopt;
    return found->get_int64();
  };
  Grant grant{text("token"), text("key"), text("tokenID"), text("state")};
  auto actions = policy::actions_from(text("actions"));
  auto clearance = policy::label_from(text("clearance"));
  auto expires = number("expires"), given = number("given");
  if (grant.token.empty() || !actions || !clearance || !expires || !given) return std::nullopt;
  grant.actions = *actions;
  grant.clearance = *clearance;
  grant.expires_ms = *expires;
  grant.given_ms = *given;
  grant.narrowed = number("narrowed").value_or(0);
  return grant;
}

bool of_one_token(const Grant& a, const Grant& b) {
  return a.key_id == b.key_id && a.token_id == b.token_id;
}

size_t count_of_key(const Grants& grants, const std::string& key_id) {
  return size_t(std::count_if(grants.begin(), grants.end(),
                              [&](const Grant& each) { return each.key_id == key_id; }));
}

/// Of those of its own token, the one that makes room for `grant`.
Grants::iterator narrowest_of_token(Grants& grants, const Grant& grant) {
  auto narrowest = grants.end();
  // They are in the order in which they were given: of several it is the oldest.
  for (auto each = grants.begin(); each != grants.end(); ++each) {
    if (!of_one_token(*each, grant) || each->narrowed < grant.narrowed) continue;
    if (narrowest == grants.end() || each->narrowed > narrowest->narrowed) narrowest = each;
  }
  return narrowest;
}

/// Where all are taken: the key that has most has one less; of its tokens that which has most. None
/// for a new key where no other has two.
Grants::iterator one_of_the_greediest(Grants& grants, const Grant& grant) {
  std::string greediest = grant.key_id;
  size_t most = count_of_key(grants, grant.key_id) + 1;
  for (const Grant& each : grants) {
    size_t count = count_of_key(grants, each.key_id);
    if (count <= most) continue;
    greediest = each.key_id;
    most = count;
  }
  auto rank = [&](const Grant& one) {
    auto of_token = std::count_if(grants.begin(), grants.end(),
                                  [&](const Grant& each) { return of_one_token(each, one); });
    return std::pair(of_token, one.narrowed);
  };
  auto found = grants.end();
  for (auto each = grants.begin(); each != grants.end(); ++each) {
    if (each->key_id != greediest) continue;
    if (found == grants.end() || rank(*each) > rank(*found)) found = each;
  }
  return found;
}

bool has_expired(const Grant& grant, int64_t now_ms) {
  return grant.expires_ms != 0 && grant.expires_ms <= now_ms;
}

}  // namespace

std::string write_grants(const Grants& grants) {
  json::array list;
  for (const Grant& grant : grants) list.push_back(to_json(grant));
  return json::serialize(list);
}

Grants parse_grants(std::string_view stored) {
  json::error_code bad;
  json::value value = json::parse(json::string_view(stored.data(), stored.size()), bad);
  const json::array* list = bad ? nullptr : value.if_array();
  Grants grants;
  if (!list) return grants;
  for (const json::value& each : *list) {
    if (auto grant = read_grant(each)) grants.push_back(std::move(*grant));
  }
  return grants;
}

std::optional<Grant> grant_for(const Principal& who, const SandboxRecord& record) {
  if (secret_of(record).empty()) return std::nullopt;
  policy::Effective left = policy::effective(who.permission);
  if (!left.contradiction.empty()) return std::nullopt;
  Grant grant;
  grant.key_id = who.key_id;
  grant.token_id = who.token_id;
  grant.key_state = who.key_state;
  grant.actions = left.actions & kGrantable;
  grant.clearance = left.label;
  grant.expires_ms = left.expires_ms.value_or(0);
  grant.narrowed = static_cast<int64_t>(who.narrowed);
  bool inside = !(grant.actions & kInsideActions).empty();
  bool ports = !record.traffic_token.empty() && grant.actions.has(Action::sandbox_ports);
  if (!inside && !ports) return std::nullopt;
  grant.token = derive(record, canonical(grant, who.budgets));
  return grant;
}

Result<bool> add_grant(Grants& grants, Grant grant, int64_t now_ms, Room room) {
  size_t before = grants.size();
  std::erase_if(grants, [&](const Grant& each) { return has_expired(each, now_ms); });
  bool changed = grants.size() != before;
  auto known = std::find_if(grants.begin(), grants.end(),
                            [&](const Grant& each) { return each.token == grant.token; });
  if (known != grants.end()) {
    // A helper that narrowed nothing has the grant of its maker, whose it is.
    changed = changed || grant.narrowed < known->narrowed;
    known->narrowed = std::min(known->narrowed, grant.narrowed);
    return changed;
  }
  auto of_token = std::count_if(grants.begin(), grants.end(),
                                [&](const Grant& each) { return of_one_token(each, grant); });
  bool token_full = size_t(of_token) >= kMostGrantsOfOne;
  if (token_full || grants.size() >= kMostSandboxGrants) {
    auto goes =
        token_full ? narrowest_of_token(grants, grant) : one_of_the_greediest(grants, grant);
    if (goes == grants.end() || room == Room::if_free) {
      return Error(ErrorCode::resource_exhausted,
                   token_full ? "too many that were narrowed from this token have access to this "
                                "sandbox already"
                              : "too many keys have access to this sandbox already");
    }
    grants.erase(goes);
  }
  grant.given_ms = now_ms;
  grants.push_back(std::move(grant));
  return true;
}

const Grant* find_grant(const Grants& grants, std::string_view token, int64_t now_ms) {
  const Grant* found = nullptr;
  for (const Grant& grant : grants) {
    if (wire::equal_secrets(token, grant.token) && !has_expired(grant, now_ms)) found = &grant;
  }
  return found;
}

Grant grant_of_before(const SandboxRecord& record, std::string key_state) {
  Grant grant;
  grant.token = secret_of(record);
  grant.key_id = record.key_id;
  grant.key_state = std::move(key_state);
  grant.actions = kGrantable;
  // Whoever was cleared for it may have been given its token, and others may not.
  grant.clearance = label_of(record.label);
  grant.given_ms = record.started_ms;
  return grant;
}

bool is_of_before(const Grant& grant, const SandboxRecord& record) {
  return !grant.token.empty() && grant.token == secret_of(record);
}

Principal holder_of(const Grant& grant, const SandboxRecord& record) {
  policy::PermissionLayer layer;
  layer.name = "access token";
  layer.leaves.tenant = record.tenant;
  layer.leaves.sandboxes.emplace({record.id});
  layer.leaves.actions = grant.actions;
  layer.leaves.label = grant.clearance;
  if (grant.expires_ms != 0) layer.leaves.expires_ms = grant.expires_ms;
  Principal who;
  who.key_id = grant.key_id;
  who.token_id = grant.token_id;
  who.tenant = record.tenant;
  who.clearance = grant.clearance;
  who.permission.push_back(std::move(layer));
  return who;
}

std::string own_token(const SandboxRecord& record) {
  return record.access_token.empty() ? "" : derive(record, kOwnKey);
}

json::array ingress_grants(const SandboxRecord& record) {
  json::array list;
  auto add = [&](const std::string& token, std::string_view key,
                 ActionSet actions) -> json::object& {
    json::object object;
    object["token"] = token;
    object["key"] = json::string_view(key.data(), key.size());
    json::array words;
    for (Action action : policy::kActions) {
      if (!actions.has(action)) continue;
      std::string_view word = policy::to_string(action);
      words.emplace_back(json::string_view(word.data(), word.size()));
    }
    object["actions"] = std::move(words);
    list.push_back(std::move(object));
    return list.back().get_object();
  };
  if (!record.access_token.empty()) add(own_token(record), kOwnKey, {Action::sandbox_read});
  for (const Grant& grant : parse_grants(record.grants)) {
    const std::string& holder = grant.token_id.empty() ? grant.key_id : grant.token_id;
    json::object& entry = add(grant.token, holder, grant.actions);
    if (grant.expires_ms != 0) entry["expires_ms"] = grant.expires_ms;
  }
  return list;
}

ShownTokens shown_tokens(const Principal& who, const SandboxRecord& record) {
  ShownTokens shown;
  auto grant = grant_for(who, record);
  if (!grant) return shown;
  bool inside = !(grant->actions & kInsideActions).empty();
  if (inside && !record.access_token.empty()) shown.inside = grant->token;
  if (grant->actions.has(Action::sandbox_ports) && !record.traffic_token.empty()) {
    shown.ports = grant->token;
  }
  return shown;
}

}  // namespace hako::api
