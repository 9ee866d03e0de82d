#include "policy/permission.h"

#include <algorithm>

#include "policy/narrowing_members.h"

namespace hako::policy {
namespace {

/// The rules for templates name the operator's by their plain names, as everybody does.
constexpr std::string_view kOperatorsTenant = "default";

/// Nothing: not refused.
using Refusal = std::optional<Decision>;

constexpr const char* kOtherKey = "use a key or token that leaves this";

Decision refuse(const PermissionLayer& layer, std::string_view member, std::string reason,
                std::string remedy = kOtherKey) {
  return Decision::deny(layer.name + "." + std::string(member), layer.name + " " + reason,
                        std::move(remedy));
}

constexpr ActionSet kAllTenants = {Action::tenant_manage};

bool is_for_an_agent(const Narrowing& leaves) {
  return leaves.agent && !leaves.agent->empty();
}

Decision left() {
  return Decision::allow("permission", "every layer of the permission leaves this");
}

bool is_name_part(std::string_view part) {
  auto is_plain = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); };
  return !part.empty() && part.size() <= 64 && is_plain(part.front()) && is_plain(part.back()) &&
         std::all_of(part.begin(), part.end(),
                     [&](char c) { return is_plain(c) || c == '-' || c == '_' || c == '.'; });
}

/// Tenant and agent of all layers, and the first layer that agrees with none before it.
struct Place {
  std::optional<std::string> tenant;
  std::string agent;
  const PermissionLayer* contradicting = nullptr;
  std::string reason;
};

void narrow_place(Place& place, const PermissionLayer& layer) {
  const Narrowing& leaves = layer.leaves;
  if (leaves.tenant) {
    if (place.tenant && *place.tenant != *leaves.tenant) {
      place.contradicting = &layer;
      place.reason = "is for tenant " + *leaves.tenant + ", and what it narrows is for tenant " +
                     *place.tenant;
      return;
    }
    place.tenant = leaves.tenant;
  }
  if (!leaves.agent || is_at_or_below(place.agent, *leaves.agent)) return;
  if (!is_at_or_below(*leaves.agent, place.agent)) {
    place.contradicting = &layer;
    place.reason =
        "is for agent " + *leaves.agent + ", and what it narrows is for agent " + place.agent;
    return;
  }
  place.agent = *leaves.agent;
}

Place place_of(const Permission& permission) {
  Place place;
  for (const PermissionLayer& layer : permission) {
    narrow_place(place, layer);
    if (place.contradicting) break;
  }
  return place;
}

Refusal nothing_left(const Permission& permission, int64_t now_ms) {
  Place place = place_of(permission);
  if (place.contradicting) {
    return refuse(*place.contradicting, "contradiction", place.reason,
                  "use a key or token without this contradiction");
  }
  for (const PermissionLayer& layer : permission) {
    if (layer.leaves.expires_ms && now_ms >= *layer.leaves.expires_ms) {
      return refuse(layer, "expired", "has expired", "use a newer key or token");
    }
  }
  return std::nullopt;
}

/// Whether one of these actions is left by all layers.
Refusal no_action_left(const Permission& permission, ActionSet actions) {
  ActionSet asked = actions;
  for (const PermissionLayer& layer : permission) {
    // Whoever is here for some boxes is here for nothing else.
    if (layer.leaves.sandboxes && (actions & kBoxActions).empty()) {
      return refuse(layer, "sandboxes", "is for single boxes and leaves nothing besides");
    }
    if (is_for_an_agent(layer.leaves) && actions.without(kAllTenants).empty()) {
      return refuse(layer, "agent",
                    "is for agent " + *layer.leaves.agent + ", and tenants are not");
    }
    actions = actions & actions_left(layer.leaves);
    if (actions.empty()) return refuse(layer, "actions", "does not leave " + to_string(asked));
  }
  return std::nullopt;
}

Refusal not_left(const Permission& permission, ActionSet actions, int64_t now_ms) {
  if (auto refusal = nothing_left(permission, now_ms)) return refusal;
  return no_action_left(permission, actions);
}

Refusal over_label(const PermissionLayer& layer, Label label) {
  if (!layer.leaves.label || label <= *layer.leaves.label) return std::nullopt;
  return refuse(layer, "label",
                "is cleared up to " + std::string(to_string(*layer.leaves.label)) +
                    ", and this is " + std::string(to_string(label)));
}

Refusal hides_box(const PermissionLayer& layer, const BoxFacts& box) {
  const Narrowing& leaves = layer.leaves;
  if (leaves.tenant && *leaves.tenant != box.tenant) {
    return refuse(layer, "tenant", "is for tenant " + *leaves.tenant);
  }
  if (leaves.agent && !is_at_or_below(box.agent, *leaves.agent)) {
    return refuse(layer, "agent", "is for agent " + *leaves.agent + " and those below it");
  }
  if (leaves.sandboxes && !leaves.sandboxes->contains(box.id)) {
    return refuse(layer, "sandboxes", "is for other boxes");
  }
  return over_label(layer, box.label);
}

/// "base" names a template of one's own tenant or the operator's; others' are "acme/base".
bool lists(const std::set<std::string>& list, const TemplateFacts& what, bool own) {
  return list.contains(what.id) ||
         ((own || what.tenant == kOperatorsTenant) && list.contains(what.name)) ||
         list.contains(what.tenant + "/" + what.name);
}

Refusal hides_template(const PermissionLayer& layer, const TemplateFacts& what, bool own) {
  const Narrowing& leaves = layer.leaves;
  if (!what.is_public && leaves.tenant && *leaves.tenant != what.tenant) {
    return refuse(layer, "tenant", "is for tenant " + *leaves.tenant);
  }
  if (!what.is_public && leaves.agent && !is_at_or_below(what.agent, *leaves.agent) &&
      !is_at_or_below(*leaves.agent, what.agent)) {
    return refuse(layer, "agent", "is for agent " + *leaves.agent);
  }
  if (leaves.templates && !lists(*leaves.templates, what, own)) {
    return refuse(layer, "templates", "does not list this template");
  }
  return over_label(layer, what.label);
}

Refusal hides_template(const Permission& permission, const TemplateFacts& what) {
  bool own = std::all_of(permission.begin(), permission.end(), [&](const PermissionLayer& layer) {
    return !layer.leaves.tenant || *layer.leaves.tenant == what.tenant;
  });
  for (const PermissionLayer& layer : permission) {
    if (auto refusal = hides_template(layer, what, own)) return refusal;
  }
  return std::nullopt;
}

/// What is not known may be anything, and so it is too much.
Refusal too_much(const PermissionLayer& layer, std::string_view member,
                 const std::optional<int64_t>& most, const std::optional<int64_t>& asked,
                 const std::string& what) {
  if (!most || (asked && *asked <= *most)) return std::nullopt;
  std::string limit = "leaves at most " + std::to_string(*most) + " " + what;
  return refuse(layer, member,
                limit + (asked ? ", and " + std::to_string(*asked) + " is asked for"
                               : ", and it is not known how much is asked for"),
                "ask for at most " + std::to_string(*most) + ", or " + kOtherKey);
}

Refusal refuses_new_box(const PermissionLayer& layer, const CreateFacts& asked) {
  const Narrowing& leaves = layer.leaves;
  if (auto refusal = over_label(layer, asked.label)) return refusal;
  if (auto refusal =
          too_much(layer, "memory", leaves.memory_mib, asked.memory_mib, "MiB of memory"))
    return refusal;
  if (auto refusal = too_much(layer, "vcpus", leaves.vcpus, asked.vcpus, "virtual CPUs"))
    return refusal;
  return too_much(layer, "ttl", leaves.ttl_s, asked.ttl_s, "s of life");
}

template <class T>
void keep_least(std::optional<T>& least, const std::optional<T>& value) {
  if (value && (!least || *value < *least)) least = value;
}

void keep_common(std::optional<std::set<std::string>>& common,
                 const std::optional<std::set<std::string>>& list) {
  if (!list) return;
  if (!common) {
    common = list;
    return;
  }
  std::erase_if(*common, [&](const std::string& each) { return !list->contains(each); });
}

void keep_less(Effective& left, const PermissionLayer& layer) {
  const Narrowing& leaves = layer.leaves;
  keep_common(left.sandboxes, leaves.sandboxes);
  if (leaves.templates) left.templates.push_back(*leaves.templates);
  left.actions = left.actions & actions_left(leaves);
  if (leaves.label) left.label = std::min(left.label, *leaves.label);
  if (leaves.egress) {
    left.egress.push_back(*leaves.egress);
    left.egress.back().name = layer.name;
  }
  keep_least(left.memory_mib, leaves.memory_mib);
  keep_least(left.vcpus, leaves.vcpus);
  keep_least(left.ttl_s, leaves.ttl_s);
  keep_least(left.egress_bytes, leaves.egress_bytes);
  keep_least(left.expires_ms, leaves.expires_ms);
}

}  // namespace

bool counts_model_calls(const Narrowing& leaves) {
  return leaves.model_requests || leaves.model_tokens || leaves.model_microusd;
}

bool counts(const Narrowing& leaves) {
  return leaves.boxes || counts_model_calls(leaves);
}

bool is_model_pattern(std::string_view word) {
  if (word == "*") return true;
  if (word.ends_with('*')) word.remove_suffix(1);
  return is_listed_word(word);
}

bool names_model(const std::set<std::string>& patterns, std::string_view model) {
  return std::any_of(patterns.begin(), patterns.end(), [&](std::string_view pattern) {
    if (!pattern.ends_with('*')) return pattern == model;
    return model.starts_with(pattern.substr(0, pattern.size() - 1));
  });
}

Decision may_call_model(const Permission& permission, std::string_view model) {
  for (const PermissionLayer& layer : permission) {
    if (!layer.leaves.models || names_model(*layer.leaves.models, model)) continue;
    return refuse(layer, "models", "does not allow the model " + std::string(model),
                  "use a model that is allowed");
  }
  return left();
}

ActionSet actions_left(const Narrowing& leaves) {
  ActionSet actions = leaves.actions.value_or(ActionSet::all());
  if (leaves.sandboxes) actions = actions & kBoxActions;
  return is_for_an_agent(leaves) ? actions.without(kAllTenants) : actions;
}

bool is_tenant_name(std::string_view name) {
  return is_name_part(name);
}

bool is_agent_path(std::string_view path) {
  constexpr int kMostParts = 8;
  int parts = 0;
  for (size_t begin = 0; begin <= path.size();) {
    size_t end = std::min(path.find('/', begin), path.size());
    if (++parts > kMostParts || !is_name_part(path.substr(begin, end - begin))) return false;
    begin = end + 1;
  }
  return true;
}

bool is_at_or_below(std::string_view path, std::string_view above) {
  return above.empty() || path == above ||
         (path.size() > above.size() && path.starts_with(above) && path[above.size()] == '/');
}

Effective effective(const Permission& permission) {
  Effective left;
  for (const PermissionLayer& layer : permission) keep_less(left, layer);
  Place place = place_of(permission);
  left.tenant = place.tenant;
  left.agent = place.agent;
  if (place.contradicting) {
    left.contradiction = place.contradicting->name + " " + place.reason;
    left.actions = {};
  }
  return left;
}

Decision may(const Permission& permission, Action action, int64_t now_ms) {
  return not_left(permission, {action}, now_ms).value_or(left());
}

Decision may_see(const Permission& permission, const BoxFacts& box, int64_t now_ms) {
  if (auto refusal = not_left(permission, kBoxActions, now_ms)) return *refusal;
  for (const PermissionLayer& layer : permission) {
    if (auto refusal = hides_box(layer, box)) return *refusal;
  }
  return left();
}

Decision may_act(const Permission& permission, Action action, const BoxFacts& box, int64_t now_ms) {
  Decision seen = may_see(permission, box, now_ms);
  return seen.allowed ? may(permission, action, now_ms) : seen;
}

Decision may_read(const Permission& permission, const TemplateFacts& what, int64_t now_ms) {
  using enum Action;
  constexpr ActionSet kActions = {sandbox_create, template_read, template_write};
  if (auto refusal = not_left(permission, kActions, now_ms)) return *refusal;
  return hides_template(permission, what).value_or(left());
}

Decision may_change(const Permission& permission, const TemplateFacts& what, int64_t now_ms) {
  if (auto refusal = not_left(permission, {Action::template_write}, now_ms)) return *refusal;
  if (auto refusal = hides_template(permission, what)) return *refusal;
  for (const PermissionLayer& layer : permission) {
    const Narrowing& leaves = layer.leaves;
    if (leaves.tenant && *leaves.tenant != what.tenant) {
      return refuse(layer, "tenant", "is for tenant " + *leaves.tenant);
    }
    if (leaves.agent && !is_at_or_below(what.agent, *leaves.agent)) {
      return refuse(layer, "agent", "is for agent " + *leaves.agent + " and those below it");
    }
  }
  return left();
}

Decision may_create(const Permission& permission, const CreateFacts& asked, int64_t now_ms) {
  if (auto refusal = not_left(permission, {Action::sandbox_create}, now_ms)) return *refusal;
  if (auto refusal = hides_template(permission, asked.what)) return *refusal;
  for (const PermissionLayer& layer : permission) {
    if (auto refusal = refuses_new_box(layer, asked)) return *refusal;
  }
  return left();
}

}  // namespace hako::policy
