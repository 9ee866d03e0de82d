#include "policy/explain.h"

#include "base/clock.h"

namespace hako::policy {
namespace {

/// Phrases in one line.
class Phrases {
 public:
  void add(const std::string& phrase) { text_ += (text_.empty() ? "" : "; ") + phrase; }
  std::string text() const { return text_.empty() ? "everything" : text_; }

 private:
  std::string text_;
};

std::string listed(const std::set<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

std::string listed(const std::vector<Target>& targets) {
  std::string text;
  for (const Target& target : targets) text += (text.empty() ? "" : ", ") + to_string(target);
  return text;
}

std::string listed(ActionSet actions) {
  std::string text;
  for (Action action : kActions) {
    if (actions.has(action)) text += (text.empty() ? "" : ", ") + std::string(to_string(action));
  }
  return text;
}

std::string only_boxes(const std::set<std::string>& ids) {
  return ids.empty() ? "no boxes" : "only the boxes " + listed(ids);
}

std::string only_templates(const std::set<std::string>& names) {
  return names.empty() ? "no templates" : "only the templates " + listed(names);
}

std::string reach(const EgressLayer& layer) {
  if (layer.level == EgressLevel::none) return "boxes reach nothing outside";
  std::string text = "boxes reach the internet";
  if (layer.level == EgressLevel::allow) {
    text =
        layer.allow.empty() ? "boxes reach nothing outside" : "boxes reach " + listed(layer.allow);
  }
  return layer.deny.empty() ? text : text + " but not " + listed(layer.deny);
}

void add_most(Phrases& phrases, const std::optional<int64_t>& most, const std::string& what) {
  if (most) phrases.add("at most " + std::to_string(*most) + " " + what);
}

/// What stands in single values, in layers and in all of them together.
template <class Values>
void add_sizes(Phrases& phrases, const Values& values) {
  add_most(phrases, values.memory_mib, "MiB of memory in a box");
  add_most(phrases, values.vcpus, "virtual CPUs in a box");
  add_most(phrases, values.ttl_s, "s of life for a box");
  add_most(phrases, values.egress_bytes, "bytes in and out of a box");
  if (values.expires_ms) phrases.add("until " + to_rfc3339(from_unix_ms(*values.expires_ms)));
}

/// What is counted layer by layer.
void add_models(Phrases& phrases, const Narrowing& leaves, const std::string& by = {}) {
  if (leaves.models) {
    phrases.add((leaves.models->empty() ? "no models" : "only the models " + listed(*leaves.models)));
  }
  add_most(phrases, leaves.model_requests, "calls of models" + by);
  add_most(phrases, leaves.model_tokens, "tokens of models" + by);
  add_most(phrases, leaves.model_microusd, "millionths of a dollar for models" + by);
}

std::string of_layer(const Narrowing& leaves) {
  Phrases phrases;
  if (leaves.tenant) phrases.add("tenant " + *leaves.tenant);
  if (leaves.agent && !leaves.agent->empty()) {
    phrases.add("agent " + *leaves.agent + " and those below it");
  }
  if (leaves.sandboxes) phrases.add(only_boxes(*leaves.sandboxes));
  if (leaves.templates) phrases.add(only_templates(*leaves.templates));
  if (leaves.actions) {
    phrases.add(leaves.actions->empty() ? "no actions" : "only " + listed(*leaves.actions));
  }
  if (leaves.label) phrases.add("data up to " + std::string(to_string(*leaves.label)));
  if (leaves.egress) phrases.add(reach(*leaves.egress));
  add_most(phrases, leaves.boxes, "boxes at once");
  add_models(phrases, leaves);
  add_sizes(phrases, leaves);
  return phrases.text();
}

std::string of_all(const Permission& permission, const Effective& left) {
  Phrases phrases;
  if (left.tenant) phrases.add("tenant " + *left.tenant);
  if (!left.agent.empty()) phrases.add("agent " + left.agent + " and those below it");
  if (left.sandboxes) phrases.add(only_boxes(*left.sandboxes));
  for (const auto& names : left.templates) phrases.add(only_templates(names));
  if (left.actions.empty())
    phrases.add("no actions");
  else if (left.actions != ActionSet::all())
    phrases.add("only " + listed(left.actions));
  if (left.label != Label::secret) {
    phrases.add("data up to " + std::string(to_string(left.label)));
  }
  for (const EgressLayer& layer : left.egress) phrases.add(reach(layer));
  for (const PermissionLayer& layer : permission) {
    add_most(phrases, layer.leaves.boxes, "boxes at once by " + layer.name);
    add_models(phrases, layer.leaves, " by " + layer.name);
  }
  add_sizes(phrases, left);
  return phrases.text();
}

std::string expired(int64_t expires_ms) {
  return "nothing: expired at " + to_rfc3339(from_unix_ms(expires_ms));
}

}  // namespace

std::vector<LayerExplanation> explanation(const Permission& permission, int64_t now_ms) {
  std::vector<LayerExplanation> all;
  Permission before;
  for (const PermissionLayer& layer : permission) {
    bool agreed = effective(before).contradiction.empty();
    before.push_back(layer);
    std::string contradiction = effective(before).contradiction;
    const auto& expires = layer.leaves.expires_ms;
    if (expires && now_ms >= *expires) {
      all.push_back({layer.name, expired(*expires)});
    } else if (agreed && !contradiction.empty()) {
      all.push_back({layer.name, "nothing: " + contradiction});
    } else {
      all.push_back({layer.name, of_layer(layer.leaves)});
    }
  }
  Effective left = effective(permission);
  std::string text = of_all(permission, left);
  if (!left.contradiction.empty())
    text = "nothing: " + left.contradiction;
  else if (left.expires_ms && now_ms >= *left.expires_ms)
    text = expired(*left.expires_ms);
  all.push_back({"together", std::move(text)});
  return all;
}

}  // namespace hako::policy
