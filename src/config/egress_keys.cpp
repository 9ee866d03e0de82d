// [egress] and [labels]: what boxes may reach.
#include <array>

#include "config/keys.h"
#include "config/kinds.h"

namespace hako::config {
namespace {

using policy::Label;

constexpr size_t kMostTargets = 1024;
/// A box's layer for a label holds the lists of the labels above, and the list of a request.
constexpr size_t kMostTargetsOfLabel = 128;
constexpr size_t kMostResolvers = 8;

std::optional<policy::Target> target_from(const std::string& text) {
  auto target = policy::parse_target(text);
  if (!target) return std::nullopt;
  return std::move(target).value();
}

/// Not all networks at once: that would open loopback and the metadata services of clouds, too.
std::optional<policy::Target> network_from(const std::string& text) {
  auto target = target_from(text);
  bool network = target && target->kind == policy::Target::Kind::network && target->prefix > 0;
  return network ? target : std::nullopt;
}

/// "192.0.2.53", "192.0.2.53:5353", "2001:db8::53", "[2001:db8::53]:5353".
std::optional<Config::Resolver> resolver_from(const std::string& text) {
  auto target = network_from(text);
  if (!target || target->prefix != (target->network.is_v4() ? 32 : 128)) return std::nullopt;
  if (target->ports.empty()) return Config::Resolver{target->network, 53};
  policy::PortRange range = target->ports.front();
  if (target->ports.size() != 1 || range.first != range.last) return std::nullopt;
  return Config::Resolver{target->network, range.first};
}

policy::LabelCeiling& ceiling_of(Config& config, Label label) {
  return config.egress.labels[static_cast<size_t>(label)];
}

/// What a label may reach, as two settings: its level, and its list.
std::array<Key, 2> label_keys(Label label, const char* target) {
  auto its_level = [=](Config& config) -> auto& { return ceiling_of(config, label).level; };
  auto its_list = [=](Config& config) -> auto& { return ceiling_of(config, label).allow; };
  std::string word(policy::to_string(label));
  return {level("labels", word, its_level),
          list("labels", word + "_allow", its_list, target_from, kMostTargetsOfLabel, target)};
}

}  // namespace

std::vector<Key> egress_keys() {
  constexpr const char* kTarget =
      "a name (\"example.com\", \"*.example.com\", \"*\") or a network (\"192.0.2.0/24\"), with "
      "ports (\":443\", \":80-90,443\") or without";
  constexpr const char* kNetwork = "a network (\"10.1.0.0/16\"), with ports or without";
  constexpr const char* kResolver = "an IP address, with ':' and a port where that is not 53";
  constexpr int64_t kMany = 1 << 20;
  constexpr int64_t kMostBytes = int64_t(1) << 60;
  // A setting's place in Config, for the kinds above.
  auto at = [](auto member) { return [=](Config& c) -> auto& { return c.egress.*member; }; };
  auto limit = [](auto member) {
    return [=](Config& c) -> auto& { return c.egress.limits.*member; };
  };
  using E = policy::EgressPlatform;
  using L = policy::EgressLimits;
  std::vector<Key> all = {
      level("egress", "ceiling", at(&E::ceiling)),
      level("egress", "standard", at(&E::standard)),
      list("egress", "allow", at(&E::allow), target_from, kMostTargets, kTarget),
      list("egress", "deny", at(&E::deny), target_from, kMostTargets, kTarget),
      list("egress", "private_networks", at(&E::private_networks), network_from, kMostTargets,
           kNetwork),
      list("egress", "resolvers", &Config::resolvers, resolver_from, kMostResolvers,
           kResolver),
      number("egress", "connections", limit(&L::connections), 0, kMany),
      number("egress", "connects_per_second", limit(&L::connects_per_second), 0, kMany),
      number("egress", "bytes_per_second", limit(&L::bytes_per_second), 0, kMostBytes),
      number("egress", "bytes_total", limit(&L::bytes_total), 0, kMostBytes),
      number("egress", "names_per_second", limit(&L::names_per_second), 0, kMany),
  };
  for (Label label : policy::kLabels) {
    for (Key& key : label_keys(label, kTarget)) all.push_back(std::move(key));
  }
  return all;
}

}  // namespace hako::config
