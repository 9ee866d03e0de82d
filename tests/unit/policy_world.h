// A small world of policies made at random. A failure prints the seed of its case, which makes the
// same case again.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "policy/egress_json.h"
#include "policy_samples.h"

namespace hako::policy::test {

inline constexpr uint32_t kCases = 1500;
inline constexpr int kProbes = 24;

/// Makes things of a small world, in which rules and destinations meet often.
class World {
 public:
  explicit World(uint32_t seed) : random_(seed) {}

  int below(int n) { return int(random_() % uint32_t(n)); }
  bool once_in(int n) { return below(n) == 0; }
  template <class T>
  const T& one_of(const std::vector<T>& all) {
    return all[size_t(below(int(all.size())))];
  }

  std::string name() {
    static const std::vector<std::string> kNames = {"a", "b.a", "c.b.a", "d.b.a", "b.e", "x.b.e"};
    return one_of(kNames);
  }
  boost::asio::ip::address address() {
    static const std::vector<const char*> kAddresses = {
        "8.8.8.8",      "8.8.8.9",   "8.8.4.4",         "10.0.0.1",
        "10.1.0.1",     "127.0.0.1", "169.254.169.254", "2606:4700::1",
        "2606:4700::2", "fd00::1",   "::ffff:8.8.8.8",  "::ffff:10.0.0.1"};
    return test::address(one_of(kAddresses));
  }
  uint16_t port() {
    static const std::vector<uint16_t> kPorts = {1, 80, 81, 443, 8443, 65535};
    return one_of(kPorts);
  }
  Target target() {
    Target made;
    switch (below(4)) {
      case 0:
        made.name = name();
        break;
      case 1:
        made.kind = Target::Kind::names_below;
        if (!once_in(5)) made.name = name();
        break;
      default:
        made = network();
    }
    for (int i = below(3); i > 0; --i) {
      uint16_t a = port(), b = once_in(2) ? a : port();
      made.ports.push_back({std::min(a, b), std::max(a, b)});
    }
    return made;
  }
  std::vector<Target> list(int most = 4) {
    std::vector<Target> made;
    for (int i = below(most); i > 0; --i) made.push_back(target());
    return made;
  }
  EgressLevel level() { return EgressLevel(below(3)); }
  EgressLayer layer() {
    EgressLayer made =
        test::layer("layer" + std::to_string(below(3)), once_in(6) ? EgressLevel::none : level(),
                    list(6), once_in(2) ? list() : std::vector<Target>());
    made.allow_beats_deny = once_in(2);
    return made;
  }
  std::vector<Target> networks() {
    std::vector<Target> made;
    for (int i = below(3); i > 0; --i) made.push_back(network());
    return made;
  }
  EgressPolicy policy() {
    EgressPolicy made;
    for (int i = 1 + below(3); i > 0; --i) made.layers.push_back(layer());
    made.private_networks = networks();
    for (int i = below(3); i > 0; --i) made.links.push_back({name() + ".box", "box", port()});
    if (once_in(3)) made.intercept.push_back({name(), {uint16_t(1 + below(65535))}});
    if (once_in(2)) made.tls_ports.insert(port());
    made.limits.bytes_total = below(2) * INT64_MAX;
    return made;
  }
  Destination destination() {
    Destination made;
    if (!once_in(3)) made.name = name();
    if (made.name.empty() || once_in(2)) made.address = address();
    made.port = port();
    return made;
  }
  EgressPlatform platform() {
    EgressPlatform made;
    made.ceiling = once_in(2) ? EgressLevel::internet : level();
    made.standard = level();
    made.allow = list(6);
    if (once_in(3)) made.deny = list();
    made.private_networks = networks();
    for (LabelCeiling& ceiling : made.labels) {
      if (once_in(2)) ceiling = {level(), once_in(2) ? list(6) : std::vector<Target>()};
    }
    return made;
  }
  EgressRequest request() {
    EgressRequest made;
    if (once_in(2)) made.level = level();
    if (once_in(2)) made.allow_internet_access = once_in(2);
    made.own_allow = list(6);
    if (once_in(2)) made.own_deny = list();
    if (made.level && once_in(2)) return made;
    made.allow_out = list(6);
    made.deny_out = list();
    if (once_in(3)) made.deny_out.push_back(targets({"0.0.0.0/0"}).front());
    return made;
  }

  template <class T>
  void shuffle(std::vector<T>& all) {
    std::shuffle(all.begin(), all.end(), random_);
  }

 private:
  Target network() {
    static const std::vector<const char*> kNetworks = {
        "0.0.0.0/0",  "8.0.0.0/8",        "8.8.0.0/16",  "8.8.8.8",
        "8.8.8.8/31", "10.0.0.1",         "127.0.0.0/8", "[::]/0",
        "[2000::]/3", "[2606:4700::]/32", "10.0.0.0/8",  "[2606:4700::1]"};
    return targets({one_of(kNetworks)}).front();
  }

  std::mt19937 random_;
};

template <class W = World, class Check>
void for_many(Check check) {
  for (uint32_t seed = 0; seed < kCases && !::testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    W world(seed);
    check(world);
  }
}

inline std::string shown(const EgressPolicy& policy) {
  return boost::json::serialize(to_json(policy));
}

/// All that `narrow` allows, `wide` allows. Counts what passed: a rule is tried only where it could
/// be broken.
inline void expect_within(World& world, const EgressPolicy& narrow, const EgressPolicy& wide,
                          int& passed) {
  for (int i = 0; i < kProbes; ++i) {
    Destination to = world.destination();
    if (may_connect(narrow, to).allowed) {
      ++passed;
      ASSERT_TRUE(may_connect(wide, to).allowed)
          << to_string(to) << "\nnarrow: " << shown(narrow) << "\nwide: " << shown(wide);
    }
    std::string name = world.name();
    if (may_resolve(narrow, name).allowed) {
      ASSERT_TRUE(may_resolve(wide, name).allowed)
          << name << "\nnarrow: " << shown(narrow) << "\nwide: " << shown(wide);
    }
  }
}

}  // namespace hako::policy::test
