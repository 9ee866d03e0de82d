#include "policy/egress_plan.h"

#include <algorithm>

#include "policy/target_match.h"

namespace hako::policy {
namespace {

constexpr const char* kRequest = "request";

const LabelCeiling& ceiling_of(const EgressPlatform& platform, Label label) {
  return platform.labels[static_cast<size_t>(label)];
}

/// Without a list of the operator's, these labels take the list that a request brings.
bool takes_any_list(const EgressPlatform& platform, Label label) {
  const LabelCeiling& ceiling = ceiling_of(platform, label);
  return ceiling.level == EgressLevel::allow && ceiling.allow.empty() && label <= Label::internal;
}

/// What may be on a list that a label takes unseen: nothing as wide as the internet itself.
bool may_be_listed(const EgressPlatform& platform, const Target& target) {
  return is_narrow(target) || covers(platform.allow, target);
}

/// What the operator has listed for a label: where more confidential data may go, less confidential
/// data may go, too.
std::vector<Target> listed_for(const EgressPlatform& platform, Label label) {
  std::vector<Target> list;
  for (Label each : kLabels) {
    const LabelCeiling& ceiling = ceiling_of(platform, each);
    if (each < label || ceiling.level != EgressLevel::allow) continue;
    list.insert(list.end(), ceiling.allow.begin(), ceiling.allow.end());
  }
  return list;
}

/// Those that a label does not close.
std::vector<Target> brokered_for(const EgressPlatform& platform, Label label) {
  std::vector<Target> open;
  for (const BrokeredServer& server : platform.brokered) {
    if (server.label >= label) open.push_back(server.target);
  }
  return open;
}

/// What a label leaves, its servers of models among it.
EgressLevel level_for(const EgressPlatform& platform, Label label) {
  EgressLevel level = ceiling_of(platform, label).level;
  bool models = level == EgressLevel::none && !brokered_for(platform, label).empty();
  return models ? EgressLevel::allow : level;
}

/// All of the list of a label.
std::vector<Target> open_to(const EgressPlatform& platform, Label label) {
  std::vector<Target> list = brokered_for(platform, label);
  // Without a list of its own it takes none of those of higher labels either.
  if (ceiling_of(platform, label).level == EgressLevel::none) return list;
  std::vector<Target> listed = listed_for(platform, label);
  list.insert(list.end(), listed.begin(), listed.end());
  return list;
}

EgressLayer platform_layer(const EgressPlatform& platform) {
  EgressLayer layer;
  layer.name = "platform";
  layer.level = platform.ceiling;
  if (layer.level == EgressLevel::allow) layer.allow = platform.allow;
  layer.deny = platform.deny;
  return layer;
}

/// Nothing if the label closes nothing that the other layers leave open.
std::optional<EgressLayer> label_layer(const EgressPlatform& platform, Label label,
                                       const std::vector<EgressLayer>& asked) {
  EgressLayer layer;
  layer.name = "label " + std::string(to_string(label));
  layer.level = level_for(platform, label);
  if (layer.level == EgressLevel::internet) return std::nullopt;
  if (layer.level == EgressLevel::none) return layer;
  layer.allow = open_to(platform, label);
  if (!takes_any_list(platform, label)) {
    if (layer.allow.empty()) layer.level = EgressLevel::none;
    return layer;
  }
  auto may_be = [&](const Target& target) { return may_be_listed(platform, target); };
  // As all that is asked for must agree, one narrow list of it is enough.
  auto by_list = [&](const EgressLayer& each) {
    return each.level != EgressLevel::internet &&
           std::all_of(each.allow.begin(), each.allow.end(), may_be);
  };
  bool listed = std::any_of(asked.begin(), asked.end(), by_list);
  if (listed || platform.ceiling != EgressLevel::internet) return std::nullopt;
  layer.allow.insert(layer.allow.end(), platform.allow.begin(), platform.allow.end());
  for (const EgressLayer& each : asked) {
    std::copy_if(each.allow.begin(), each.allow.end(), std::back_inserter(layer.allow), may_be);
  }
  return layer;
}

bool denies_everything(const std::vector<Target>& deny) {
  return std::any_of(deny.begin(), deny.end(), [](const Target& target) {
    return is_everything(target) && target.ports.empty();
  });
}

/// What our own words ask for.
EgressLayer own_layer(const EgressRequest& request) {
  EgressLayer layer;
  layer.name = kRequest;
  layer.level = request.level.value_or(EgressLevel::internet);
  if (layer.level == EgressLevel::allow) layer.allow = request.own_allow;
  layer.deny = request.own_deny;
  return layer;
}

bool has_e2b_lists(const EgressRequest& request) {
  return !request.allow_out.empty() || !request.deny_out.empty();
}

/// What E2B's fields ask for.
EgressLayer e2b_layer(const EgressPlatform& platform, const EgressRequest& request) {
  EgressLayer layer;
  layer.name = kRequest;
  if (!request.allow_internet_access && !has_e2b_lists(request)) {
    layer.level = platform.standard;
    if (layer.level == EgressLevel::allow) layer.allow = platform.allow;
    return layer;
  }
  layer.allow = request.allow_out;
  if (request.allow_internet_access == false || denies_everything(request.deny_out)) {
    // As what is allowed beats what is denied, nothing is left of the list of what is denied.
    layer.level = layer.allow.empty() ? EgressLevel::none : EgressLevel::allow;
    return layer;
  }
  layer.level = EgressLevel::internet;
  layer.deny = request.deny_out;
  layer.allow_beats_deny = true;
  return layer;
}

/// All of these must agree, so that neither kind of words loosens what the other says.
std::vector<EgressLayer> request_layers(const EgressPlatform& platform,
                                        const EgressRequest& request) {
  std::vector<EgressLayer> layers;
  if (request.level || !request.own_deny.empty()) layers.push_back(own_layer(request));
  bool narrows = request.allow_internet_access == false || has_e2b_lists(request);
  if (narrows || !request.level) layers.push_back(e2b_layer(platform, request));
  return layers;
}

/// "nothing", "only what a list names".
std::string reach_of(EgressLevel level) {
  return level == EgressLevel::none ? "nothing" : "only what a list names";
}

/// How to ask for less than was asked for.
std::string less_than(EgressLevel ceiling) {
  return "ask for level \"" + std::string(to_string(ceiling)) + "\"" +
         (ceiling == EgressLevel::allow ? " with a list" : "");
}

/// Whether what was asked for by level and list lies within one label.
Decision within_label(const EgressPlatform& platform, Label label, const EgressLayer& asked) {
  std::string word(to_string(label));
  std::string rule = "label." + word;
  EgressLevel level = level_for(platform, label);
  if (asked.level > level) {
    return Decision::deny(rule, word + " data may reach " + reach_of(level),
                          less_than(level) + ", or have the operator raise [labels] " + word);
  }
  if (level != EgressLevel::allow || asked.level != EgressLevel::allow) {
    return Decision::allow(rule, "within what " + word + " data may reach");
  }
  bool any = takes_any_list(platform, label);
  std::vector<Target> listed = open_to(platform, label);
  for (const Target& target : asked.allow) {
    if (covers(listed, target) || (any && may_be_listed(platform, target))) continue;
    if (any) {
      return Decision::deny(
          rule, to_string(target) + " is too wide for a list for " + word + " data",
          "name hosts, names below one (*.example.com) or networks of at most /16, for IPv6 /32");
    }
    return Decision::deny(
        rule, to_string(target) + " is not on the list for " + word + " data",
        "leave it out, or have the operator put it on [labels] " + word + "_allow");
  }
  return Decision::allow(rule, "on the list for " + word + " data");
}

Decision within_platform(const EgressPlatform& platform, const EgressLayer& asked) {
  constexpr const char* kRule = "platform.ceiling";
  if (asked.level > platform.ceiling) {
    return Decision::deny(
        kRule, "boxes may reach " + reach_of(platform.ceiling) + " here",
        less_than(platform.ceiling) + ", or have the operator raise [egress] ceiling");
  }
  for (const Target& target : asked.allow) {
    std::string shown = to_string(target);
    if (platform.ceiling == EgressLevel::allow && !covers(platform.allow, target)) {
      return Decision::deny(kRule, shown + " is not on the operator's list",
                            "leave it out, or have the operator put it on [egress] allow");
    }
    if (covers(platform.deny, target)) {
      return Decision::deny("platform.deny", shown + " is denied by the operator",
                            "leave it out, or have the operator take it off [egress] deny");
    }
  }
  return Decision::allow(kRule, "within what boxes may reach here");
}

/// Whether what was asked for by level and list lies within what a tenant, key or token may ask
/// for.
Decision within_ceiling(const EgressLayer& ceiling, const EgressLayer& asked) {
  std::string rule = ceiling.name + ".egress";
  std::string remedy = ", or use a key or token that may ask for it";
  if (asked.level > ceiling.level) {
    return Decision::deny(rule, ceiling.name + " may let boxes reach " + reach_of(ceiling.level),
                          less_than(ceiling.level) + remedy);
  }
  for (const Target& target : asked.allow) {
    std::string shown = to_string(target);
    if (ceiling.level == EgressLevel::allow && !covers(ceiling.allow, target)) {
      return Decision::deny(rule, shown + " is not on the list of " + ceiling.name,
                            "leave it out" + remedy);
    }
    if (covers(ceiling.deny, target)) {
      return Decision::deny(rule, shown + " is denied by " + ceiling.name, "leave it out" + remedy);
    }
  }
  return Decision::allow(rule, "within what " + ceiling.name + " may let boxes reach");
}

Decision within_ceilings(const EgressCeilings& ceilings, const EgressLayer& asked) {
  for (const EgressLayer& ceiling : ceilings.layers) {
    Decision decision = within_ceiling(ceiling, asked);
    if (!decision.allowed) return decision;
  }
  return Decision::allow(kRequest, "within what whoever asks may let boxes reach");
}

/// The labels that count for a box: its own, and those below, so that a higher label never opens
/// what a lower one has closed. The highest first: it explains best.
std::vector<Label> labels_up_to(Label label) {
  std::vector<Label> labels;
  for (Label each : kLabels) {
    if (each <= label) labels.insert(labels.begin(), each);
  }
  return labels;
}

Decision may_ask(const EgressPlatform& platform, Label label, const EgressRequest& request,
                 const EgressCeilings& ceilings) {
  if (!request.level) {
    return Decision::allow(kRequest, "what is asked for is cut down to what is allowed");
  }
  EgressLayer asked = own_layer(request);
  if (request.allow_internet_access == false && asked.level == EgressLevel::internet) {
    return Decision::deny("request.level", "the internet is asked for, and to be without it",
                          "leave out one of level \"internet\" and allow_internet_access false");
  }
  for (Label each : labels_up_to(label)) {
    Decision decision = within_label(platform, each, asked);
    if (!decision.allowed) return decision;
  }
  Decision decision = within_platform(platform, asked);
  return decision.allowed ? within_ceilings(ceilings, asked) : decision;
}

/// 0 stands for no limit; a ceiling of nothing leaves the least there is.
int64_t least_bytes(int64_t platforms, const std::optional<int64_t>& ceiling) {
  if (!ceiling) return platforms;
  int64_t most = std::max<int64_t>(*ceiling, 1);
  return platforms == 0 ? most : std::min(platforms, most);
}

}  // namespace

EgressPlatform::EgressPlatform() {
  labels[static_cast<size_t>(Label::public_data)].level = EgressLevel::internet;
  labels[static_cast<size_t>(Label::internal)].level = EgressLevel::allow;
}

EgressPlan plan_egress(const EgressPlatform& platform, Label label, const EgressRequest& request,
                       const EgressCeilings& ceilings) {
  std::vector<EgressLayer> asked = request_layers(platform, request);
  EgressPlan plan;
  plan.decision = may_ask(platform, label, request, ceilings);
  EgressPolicy& policy = plan.policy;
  policy.layers.push_back(platform_layer(platform));
  for (Label each : labels_up_to(label)) {
    if (auto layer = label_layer(platform, each, asked)) policy.layers.push_back(std::move(*layer));
  }
  policy.layers.insert(policy.layers.end(), ceilings.layers.begin(), ceilings.layers.end());
  policy.layers.insert(policy.layers.end(), asked.begin(), asked.end());
  policy.private_networks = platform.private_networks;
  policy.tls_ports.insert(request.https_ports.begin(), request.https_ports.end());
  policy.limits = platform.limits;
  policy.limits.bytes_total = least_bytes(platform.limits.bytes_total, ceilings.bytes_total);
  return plan;
}

Decision may_link(Label from, Label to) {
  constexpr const char* kRule = "link.label";
  if (from == to) return Decision::allow(kRule, "both boxes have the same label");
  return Decision::deny(kRule,
                        "a link carries bytes both ways, and one box is " +
                            std::string(to_string(from)) + ", the other " +
                            std::string(to_string(to)),
                        "raise the lower box to " + std::string(to_string(high_water(from, to))));
}

Decision may_read(Label clearance, Label label) {
  constexpr const char* kRule = "label.clearance";
  std::string word(to_string(label));
  if (label <= clearance) return Decision::allow(kRule, "the key is cleared for " + word + " data");
  return Decision::deny(kRule,
                        "the box holds " + word + " data, and the key is cleared up to " +
                            std::string(to_string(clearance)),
                        "use a key with clearance " + word);
}

Decision may_relabel(Label from, Label to) {
  constexpr const char* kRule = "label.falls";
  if (from <= to) return Decision::allow(kRule, "a label may rise");
  return Decision::deny(kRule,
                        "a label never falls, and this would go from " +
                            std::string(to_string(from)) + " to " + std::string(to_string(to)),
                        "make a new box and put in nothing that is confidential");
}

}  // namespace hako::policy
