#include "policy/narrowing_json.h"

#include "base/clock.h"
#include "policy/narrowing_members.h"
#include "policy/target_match.h"

namespace hako::policy {
namespace {

namespace json = boost::json;

constexpr size_t kMostEntries = 2048;  ///< of one list

Error wrong(std::string_view name, std::string_view expected) {
  return Error(ErrorCode::invalid_argument, in_quotes(name) + " must be " + std::string(expected));
}

Result<std::string> read_text(const json::value& value, std::string_view name) {
  if (!value.is_string()) return wrong(name, "a text");
  return std::string(value.get_string());
}

Result<std::vector<std::string>> read_texts(const json::value& value, std::string_view name) {
  if (!value.is_array() || value.get_array().size() > kMostEntries)
    return wrong(name, "a list of at most " + std::to_string(kMostEntries) + " texts");
  std::vector<std::string> texts;
  for (const json::value& each : value.get_array()) {
    HAKO_TRY(auto text, read_text(each, name));
    texts.push_back(std::move(text));
  }
  return texts;
}

Result<int64_t> read_number(const json::value& value, const NumberMember& member) {
  json::error_code error;
  auto number = value.to_number<int64_t>(error);
  if (error || value.is_double() || number < member.least)
    return wrong(member.json, "a whole number from " + std::to_string(member.least));
  return number;
}

Result<std::set<std::string>> read_words(const json::value& value, const ListMember& member) {
  std::string_view name = member.json;
  HAKO_TRY(auto texts, read_texts(value, name));
  std::set<std::string> words;
  for (std::string& text : texts) {
    if (!member.is_word(text)) return wrong(name, "a list of ids or names");
    words.insert(std::move(text));
  }
  return words;
}

Result<std::vector<Target>> read_targets(const json::value& value, std::string_view name) {
  HAKO_TRY(auto texts, read_texts(value, name));
  std::vector<Target> targets;
  for (const std::string& text : texts) {
    auto target = parse_target(text);
    if (!target) return std::move(target).error().with_context(in_quotes(name));
    targets.push_back(std::move(target).value());
  }
  return targets;
}

/// Without a level: the list if there is one, and else all but what is denied.
Result<EgressLayer> read_egress(const json::value& value) {
  if (!value.is_object() || value.get_object().empty())
    return wrong("egress", "an object with level, allow or deny");
  EgressLayer layer;
  std::optional<EgressLevel> level;
  const json::object& object = value.get_object();
  for (const auto& member : object) {
    std::string_view name = member.key();
    if (name == "level") {
      HAKO_TRY(auto word, read_text(member.value(), "level"));
      level = egress_level_from(word);
      if (!level) return wrong("level", "none, allow or internet");
    } else if (name == "allow") {
      HAKO_TRY(layer.allow, read_targets(member.value(), name));
    } else if (name == "deny") {
      HAKO_TRY(layer.deny, read_targets(member.value(), name));
    } else {
      return Error(ErrorCode::invalid_argument, in_quotes(name) + " is not known in \"egress\"");
    }
  }
  bool lists = object.contains("allow");
  layer.level = level.value_or(lists ? EgressLevel::allow : EgressLevel::internet);
  if (layer.level != EgressLevel::allow && !layer.allow.empty())
    return wrong("allow", "left out unless \"level\" is \"allow\"");
  return layer;
}

Result<ActionSet> read_actions(const json::value& value) {
  HAKO_TRY(auto words, read_texts(value, "actions"));
  ActionSet actions;
  for (const std::string& word : words) {
    auto action = action_from(word);
    if (!action)
      return Error(ErrorCode::invalid_argument, in_quotes(word) + " in \"actions\" is no action");
    actions = actions | ActionSet{*action};
  }
  return actions;
}

/// Members that are a text each.
Result<void> read_word(std::string_view name, const json::value& value, Narrowing& narrowing) {
  HAKO_TRY(auto text, read_text(value, name));
  if (name == "tenant") {
    if (!is_tenant_name(text)) return wrong(name, "a name of a tenant");
    narrowing.tenant = std::move(text);
  } else if (name == "agent") {
    if (!is_agent_path(text)) return wrong(name, "a path of an agent, such as build/worker-1");
    narrowing.agent = std::move(text);
  } else if (name == "label") {
    narrowing.label = label_from(text);
    if (!narrowing.label) return wrong(name, "public, internal, confidential or secret");
  } else {
    auto time = from_rfc3339(text);
    if (!time) return wrong(name, "a time such as 2026-12-01T00:00:00Z");
    narrowing.expires_ms = to_unix_ms(*time);
  }
  return ok();
}

Result<void> read(std::string_view name, const json::value& value, Narrowing& narrowing) {
  for (const NumberMember& member : kNumberMembers) {
    if (name != member.json) continue;
    HAKO_TRY(narrowing.*member.value, read_number(value, member));
    return ok();
  }
  for (const ListMember& member : kListMembers) {
    if (name != member.json) continue;
    HAKO_TRY(narrowing.*member.value, read_words(value, member));
    return ok();
  }
  if (name == "tenant" || name == "agent" || name == "label" || name == "expires")
    return read_word(name, value, narrowing);
  if (name == "actions") {
    HAKO_TRY(narrowing.actions, read_actions(value));
    return ok();
  }
  if (name == "egress") {
    HAKO_TRY(narrowing.egress, read_egress(value));
    return ok();
  }
  return Error(ErrorCode::invalid_argument, in_quotes(name) + " is not a known member");
}

json::array texts_of(const std::vector<Target>& targets) {
  json::array list;
  for (const Target& target : targets) list.emplace_back(to_string(target));
  return list;
}

json::object egress_json(const EgressLayer& layer) {
  json::object object = {{"level", to_string(layer.level)}};
  if (!layer.allow.empty()) object["allow"] = texts_of(layer.allow);
  if (!layer.deny.empty()) object["deny"] = texts_of(layer.deny);
  return object;
}

}  // namespace

Result<Narrowing> narrowing_from(const json::object& object) {
  Narrowing narrowing;
  for (const auto& member : object) {
    HAKO_TRYV(read(member.key(), member.value(), narrowing));
  }
  return narrowing;
}

json::object to_json(const Narrowing& narrowing) {
  json::object object;
  if (narrowing.tenant) object["tenant"] = *narrowing.tenant;
  if (narrowing.agent && !narrowing.agent->empty()) object["agent"] = *narrowing.agent;
  for (const ListMember& member : kListMembers) {
    const auto& list = narrowing.*member.value;
    if (list) object[member.json] = json::array(list->begin(), list->end());
  }
  if (narrowing.actions) {
    json::array words;
    for (Action action : kActions) {
      if (narrowing.actions->has(action)) words.emplace_back(to_string(action));
    }
    object["actions"] = std::move(words);
  }
  if (narrowing.label) object["label"] = to_string(*narrowing.label);
  if (narrowing.egress) object["egress"] = egress_json(*narrowing.egress);
  for (const NumberMember& member : kNumberMembers) {
    if (narrowing.*member.value) object[member.json] = *(narrowing.*member.value);
  }
  if (narrowing.expires_ms) object["expires"] = to_rfc3339(from_unix_ms(*narrowing.expires_ms));
  return object;
}

}  // namespace hako::policy
