// Whether one narrowing lies within a whole permission.
#include <algorithm>

#include "policy/permission.h"
#include "policy/target_match.h"

namespace hako::policy {
namespace {

using Names = std::set<std::string>;

Decision beyond(std::string_view member, std::string reason, std::string remedy) {
  return Decision::deny("within." + std::string(member), std::move(reason), std::move(remedy));
}

bool within(const std::optional<int64_t>& outer, const std::optional<int64_t>& inner) {
  return !outer || (inner && *inner <= *outer);
}

bool within(const Names& outer, const std::optional<Names>& inner) {
  return inner && std::includes(outer.begin(), outer.end(), inner->begin(), inner->end());
}

/// Whether everything that `denied` refuses is refused by `list`. An entry for all ports also
/// refuses the question for a name, which an entry for all of 1 to 65535 does not.
bool denies_too(const std::vector<Target>& list, const Target& denied) {
  if (!denied.ports.empty()) return covers(list, denied);
  return std::any_of(list.begin(), list.end(), [&](const Target& each) {
    return each.ports.empty() && covers({each}, denied);
  });
}

bool within(const EgressLayer& outer, const EgressLayer& inner) {
  if (inner.level == EgressLevel::none) return true;
  if (inner.level > outer.level) return false;
  if (outer.level == EgressLevel::allow &&
      !std::all_of(inner.allow.begin(), inner.allow.end(),
                   [&](const Target& target) { return covers(outer.allow, target); })) {
    return false;
  }
  if (outer.deny.empty()) return true;
  return !inner.allow_beats_deny &&
         std::all_of(outer.deny.begin(), outer.deny.end(),
                     [&](const Target& target) { return denies_too(inner.deny, target); });
}

bool closes_nothing(const EgressLayer& layer) {
  return layer.level == EgressLevel::internet && layer.deny.empty();
}

Decision egress_within(const Effective& outer, const Narrowing& inner) {
  for (const EgressLayer& layer : outer.egress) {
    if (closes_nothing(layer) || (inner.egress && within(layer, *inner.egress))) continue;
    return beyond("egress", layer.name + " leaves less egress than this",
                  "give it an egress within that of " + layer.name);
  }
  return Decision::allow("within", "no more egress");
}

struct Number {
  const char* name;
  std::optional<int64_t> outer, inner;
};

Decision numbers_within(const Effective& outer, const Narrowing& inner) {
  const Number numbers[] = {
      {"memory", outer.memory_mib, inner.memory_mib},
      {"vcpus", outer.vcpus, inner.vcpus},
      {"ttl", outer.ttl_s, inner.ttl_s},
      {"egress_bytes", outer.egress_bytes, inner.egress_bytes},
      {"expires", outer.expires_ms, inner.expires_ms},
  };
  for (const Number& each : numbers) {
    if (within(each.outer, each.inner)) continue;
    return beyond(
        each.name,
        std::string("it would have more than its maker, whose ") + each.name + " is limited",
        std::string("give it a limit of its own for ") + each.name + " that is no higher");
  }
  return Decision::allow("within", "no higher numbers");
}

/// What a new key makes is counted under the new key, so a maker whose boxes are counted could
/// count anew as often as it likes.
Decision budget_within(const Permission& outer, const Narrowing& inner) {
  bool creates = actions_left(inner).has(Action::sandbox_create) && inner.boxes != 0;
  for (const PermissionLayer& layer : outer) {
    if (!layer.leaves.boxes || !creates) continue;
    return beyond("boxes", layer.name + " counts boxes, and this would not be counted with them",
                  "leave sandbox.create out of its actions");
  }
  for (const PermissionLayer& layer : outer) {
    if (!counts_model_calls(layer.leaves) || !creates) continue;
    return beyond("models",
                  layer.name + " counts calls of models, and this would not be counted with them",
                  "leave sandbox.create out of its actions");
  }
  return Decision::allow("within", "no boxes that are counted elsewhere");
}

bool covers_models(const Names& outer, const std::optional<Names>& inner) {
  return inner && std::all_of(inner->begin(), inner->end(), [&](const std::string& pattern) {
    // "gpt-*" is covered by itself and by what it begins with, a name by all that name it.
    return outer.contains(pattern) || names_model(outer, pattern);
  });
}

Decision place_within(const Permission& permission, const Effective& outer,
                      const Narrowing& inner) {
  if (outer.tenant && inner.tenant != outer.tenant) {
    return beyond("tenant", "it would be of another tenant", "make it in tenant " + *outer.tenant);
  }
  if (!is_at_or_below(inner.agent.value_or(""), outer.agent)) {
    return beyond("agent", "it would not be of agent " + outer.agent,
                  "give it the agent " + outer.agent + " or one below");
  }
  if (outer.sandboxes && !within(*outer.sandboxes, inner.sandboxes)) {
    return beyond("sandboxes", "it would be good for other boxes", "name boxes of its maker only");
  }
  for (const Names& list : outer.templates) {
    if (within(list, inner.templates)) continue;
    return beyond("templates", "it could use other templates",
                  "name templates of its maker only, in its maker's words");
  }
  for (const PermissionLayer& layer : permission) {
    if (!layer.leaves.models || covers_models(*layer.leaves.models, inner.models)) continue;
    return beyond("models", "its boxes could call other models",
                  "name models of its maker only");
  }
  return Decision::allow("within", "the same place or below");
}

}  // namespace

Decision is_within(const Permission& outer, const Narrowing& inner) {
  Effective left = effective(outer);
  if (!left.contradiction.empty()) {
    return beyond("contradiction", left.contradiction,
                  "use a key or token without this contradiction");
  }
  Decision place = place_within(outer, left, inner);
  if (!place.allowed) return place;
  if (!left.actions.covers(actions_left(inner))) {
    return beyond("actions", "it could do more than its maker",
                  "leave it these at most: " + to_string(left.actions));
  }
  if (inner.label.value_or(Label::secret) > left.label) {
    return beyond("label", "it would be cleared higher than its maker",
                  "clear it up to " + std::string(to_string(left.label)));
  }
  Decision egress = egress_within(left, inner);
  if (!egress.allowed) return egress;
  Decision numbers = numbers_within(left, inner);
  if (!numbers.allowed) return numbers;
  Decision budget = budget_within(outer, inner);
  if (!budget.allowed) return budget;
  return Decision::allow("within", "it leaves nothing that its maker does not have");
}

}  // namespace hako::policy
