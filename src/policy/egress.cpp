#include "policy/egress.h"

#include <algorithm>

#include "policy/target_match.h"

namespace hako::policy {
namespace {

using Targets = std::vector<Target>;

/// A destination as far as it is known.
struct Asked {
  std::string_view name;  ///< empty: by address alone
  const boost::asio::ip::address* address = nullptr;
  std::optional<uint16_t> port;  ///< nothing: any
  std::string shown;             ///< for messages
};

/// A verdict of one layer.
struct Verdict {
  enum class Kind { allowed, no_level, not_listed, denied };
  Kind kind = Kind::allowed;
  const Target* target = nullptr;  ///< the entry that decided, if one did
};

template <class Matches>
const Target* find(const Targets& list, Matches matches) {
  auto found = std::find_if(list.begin(), list.end(), matches);
  return found == list.end() ? nullptr : &*found;
}

/// The entry of an allow list that lets it through. A name passes by rules for names only: if the
/// address that it has become counted, any name would have to be resolved to find out, and a
/// question for a name is a way to carry data out.
const Target* allowing(const Targets& list, const Asked& asked) {
  return find(list, [&](const Target& target) {
    if (asked.port && !matches_port(target, *asked.port)) return false;
    if (!asked.name.empty()) return matches_name(target, asked.name);
    return asked.address && matches_address(target, *asked.address);
  });
}

/// Some of what is known of it is named by the entry, which holds for all ports that are asked for.
bool touches(const Target& target, const Asked& asked) {
  if (asked.port ? !matches_port(target, *asked.port) : !target.ports.empty()) return false;
  if (!asked.name.empty() && matches_name(target, asked.name)) return true;
  return asked.address && matches_address(target, *asked.address);
}

/// An entry of a deny list holds for the IPv4 address within an IPv6 address, too: there it leads.
bool denies(const Target& target, const Asked& asked) {
  if (touches(target, asked)) return true;
  auto within = asked.address ? embedded_v4(*asked.address) : std::nullopt;
  if (!within) return false;
  boost::asio::ip::address address = *within;
  Asked inside = asked;
  inside.address = &address;
  return touches(target, inside);
}

Verdict judge(const EgressLayer& layer, const Asked& asked) {
  using Kind = Verdict::Kind;
  if (layer.level == EgressLevel::none) return {Kind::no_level};
  const Target* allowed = allowing(layer.allow, asked);
  if (layer.level == EgressLevel::allow && !allowed) return {Kind::not_listed};
  // A network on the list speaks for the address that a name has become, not for the name.
  bool listed_address =
      allowed || find(layer.allow, [&](const Target& target) { return touches(target, asked); });
  const Target* denied = find(layer.deny, [&](const Target& target) {
    bool beaten = layer.allow_beats_deny &&
                  (allowed || (listed_address && !matches_name(target, asked.name)));
    return denies(target, asked) && !beaten;
  });
  if (denied) return {Kind::denied, denied};
  return {Kind::allowed, allowed};
}

/// "label confidential" -> "confidential"; nothing for other layers.
std::string_view label_of(const EgressLayer& layer) {
  constexpr std::string_view kPrefix = "label ";
  std::string_view name = layer.name;
  return name.starts_with(kPrefix) ? name.substr(kPrefix.size()) : std::string_view();
}

/// The smallest change that would turn the verdict of this layer.
std::string remedy_for(const EgressLayer& layer, const Verdict& verdict) {
  std::string label(label_of(layer));
  bool operators = layer.name == "platform" || !label.empty();
  bool requests = layer.name == "request";
  if (!operators && !requests && verdict.kind != Verdict::Kind::allowed)
    return "use a key or token that may let boxes reach it";
  std::string setting = label.empty() ? "[egress] " : "[labels] " + label;
  std::string who = operators ? "have the operator " : "";
  switch (verdict.kind) {
    case Verdict::Kind::allowed:
      return {};
    case Verdict::Kind::no_level:
      if (!operators) return "ask for egress, as a list or as internet access";
      return who + "raise " + setting + (label.empty() ? "ceiling" : "");
    case Verdict::Kind::not_listed:
      if (!operators) return "put it on the list that is asked for";
      if (layer.allow.empty() && !label.empty()) return "ask for it by a list that names it";
      return who + "put it on " + setting + (label.empty() ? "allow" : "_allow");
    case Verdict::Kind::denied:
      return who + "take " + to_string(*verdict.target) + " off " +
             (operators ? setting + "deny" : "the list of what is denied");
  }
  return {};
}

Decision refusal(const EgressLayer& layer, const Verdict& verdict, const Asked& asked,
                 std::string remedy) {
  std::string_view label = label_of(layer);
  std::string whose = label.empty() ? layer.name : std::string(label) + " data";
  switch (verdict.kind) {
    case Verdict::Kind::allowed:
    case Verdict::Kind::no_level:
      return Decision::deny(
          layer.name + ".level",
          label.empty() ? "the " + layer.name + " lets nothing out" : whose + " may reach nothing",
          std::move(remedy));
    case Verdict::Kind::not_listed:
      return Decision::deny(
          layer.name + ".allow",
          asked.shown + " is not on the list for " + (label.empty() ? "the " + layer.name : whose),
          std::move(remedy));
    case Verdict::Kind::denied:
      break;
  }
  std::string target = to_string(*verdict.target);
  return Decision::deny(layer.name + ".deny " + target,
                        asked.shown + " is denied by " + target + " of the " + layer.name,
                        std::move(remedy));
}

/// All layers: the first that refuses gives the reason, each that does its part of the remedy. If
/// none does, the last list that let it through is the rule.
Decision ask_layers(const EgressPolicy& policy, const Asked& asked) {
  if (policy.layers.empty()) {
    return Decision::deny("egress.none", "nothing may leave this box",
                          "ask for egress, as a list or as internet access");
  }
  const EgressLayer* refusing = nullptr;
  Verdict refused;
  std::string remedy;
  std::string rule;
  for (const EgressLayer& layer : policy.layers) {
    Verdict verdict = judge(layer, asked);
    if (verdict.kind == Verdict::Kind::allowed) {
      if (verdict.target) rule = layer.name + ".allow " + to_string(*verdict.target);
      continue;
    }
    if (!refusing) refusing = &layer, refused = verdict;
    remedy += (remedy.empty() ? "" : ", and ") + remedy_for(layer, verdict);
  }
  if (refusing) return refusal(*refusing, refused, asked, std::move(remedy));
  if (rule.empty()) rule = policy.layers.back().name + ".level";
  return Decision::allow(std::move(rule), asked.shown + " may be reached");
}

Decision no_name(std::string_view name) {
  return Decision::deny("egress.name", in_quotes(name) + " is not a name that can exist",
                        "use labels of letters, digits, '-' and '_'");
}

/// There are such names outside, too; a link that has been taken away must not lead to a stranger.
bool belongs_to_links(std::string_view name) {
  return name.ends_with(kLinkSuffix);
}

Decision no_link(std::string_view name) {
  return Decision::deny("egress.link", "no link to another box is called " + in_quotes(name),
                        "have a link with this name granted");
}

bool is_opened(const Targets& networks, const Destination& to) {
  return std::any_of(networks.begin(), networks.end(), [&](const Target& network) {
    return matches_port(network, to.port) && matches_address(network, *to.address);
  });
}

bool is_name_rule(const Target& target) {
  return target.kind != Target::Kind::network;
}

}  // namespace

std::string_view to_string(EgressLevel level) {
  switch (level) {
    case EgressLevel::none:
      return "none";
    case EgressLevel::allow:
      return "allow";
    case EgressLevel::internet:
      return "internet";
  }
  return "none";
}

std::optional<EgressLevel> egress_level_from(std::string_view word) {
  for (EgressLevel level : {EgressLevel::none, EgressLevel::allow, EgressLevel::internet}) {
    if (word == to_string(level)) return level;
  }
  return std::nullopt;
}

std::string to_string(const Destination& destination) {
  std::string host = destination.name;
  if (host.empty() && destination.address) {
    auto address = unmapped(*destination.address);
    host = address.is_v4() ? address.to_string() : "[" + address.to_string() + "]";
  }
  return host + ":" + std::to_string(destination.port);
}

Decision may_resolve(const EgressPolicy& policy, std::string_view name) {
  if (!can_be_name(name)) return no_name(name);
  for (const EgressLink& link : policy.links) {
    if (link.name == name) return Decision::allow("link", "a link to another box has this name");
  }
  if (belongs_to_links(name)) return no_link(name);
  Asked asked;
  asked.name = name;
  asked.shown = name;
  return ask_layers(policy, asked);
}

Decision may_connect(const EgressPolicy& policy, const Destination& destination) {
  bool named = !destination.name.empty();
  if (named ? !can_be_name(destination.name) : !destination.address) {
    return no_name(destination.name);
  }
  if (belongs_to_links(destination.name)) return no_link(destination.name);
  Asked asked;
  asked.name = destination.name;
  asked.address = destination.address ? &*destination.address : nullptr;
  asked.port = destination.port;
  asked.shown = to_string(destination);
  Decision decision = ask_layers(policy, asked);
  if (!decision.allowed || !destination.address || is_public(*destination.address) ||
      is_opened(policy.private_networks, destination)) {
    return decision;
  }
  std::string address = destination.address->to_string();
  return Decision::deny("egress.private",
                        (named ? asked.shown + " has become " + address + ", which" : address) +
                            " is not a public address",
                        "have the operator put it on [egress] private_networks");
}

bool must_agree(const EgressPolicy& policy, const Destination& destination) {
  auto by_name = [&](const Target& target) {
    return is_name_rule(target) && matches_port(target, destination.port) &&
           matches_name(target, destination.name);
  };
  auto by_everything = [&](const Target& target) {
    return is_everything(target) && matches_port(target, destination.port);
  };
  return std::any_of(policy.layers.begin(), policy.layers.end(), [&](const EgressLayer& layer) {
    bool names_denied = std::any_of(layer.deny.begin(), layer.deny.end(), [&](auto& target) {
      return is_name_rule(target) && matches_port(target, destination.port);
    });
    if (names_denied) return true;
    bool list_decides =
        layer.level == EgressLevel::allow || (layer.allow_beats_deny && !layer.deny.empty());
    return list_decides && !destination.name.empty() && find(layer.allow, by_name) &&
           !find(layer.allow, by_everything);
  });
}

bool must_intercept(const EgressPolicy& policy, std::string_view name, uint16_t port) {
  return std::any_of(policy.intercept.begin(), policy.intercept.end(),
                     [&](const InterceptedHost& each) {
                       return each.host == name && each.ports.contains(port);
                     });
}

}  // namespace hako::policy
