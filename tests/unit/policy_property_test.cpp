// Rules that hold for every policy, tried on many made at random. A failure prints the seed of its
// case, which makes the same case again.
#include <gtest/gtest.h>

#include <random>

#include "policy/egress_json.h"
#include "policy/target_match.h"
#include "policy_samples.h"

namespace hako::policy {
namespace {

using namespace test;

constexpr uint32_t kCases = 1500;
constexpr int kProbes = 24;

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
        "8.8.8.8", "8.8.8.9", "8.8.4.4", "10.0.0.1", "10.1.0.1", "127.0.0.1", "169.254.169.254",
        "2606:4700::1", "2606:4700::2", "fd00::1", "::ffff:8.8.8.8", "::ffff:10.0.0.1"};
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
    EgressLayer made = test::layer("layer" + std::to_string(below(3)),
                                   once_in(6) ? EgressLevel::none : level(), list(6),
                                   once_in(2) ? list() : std::vector<Target>());
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

 private:
  Target network() {
    static const std::vector<const char*> kNetworks = {
        "0.0.0.0/0",     "8.0.0.0/8", "8.8.0.0/16", "8.8.8.8",          "8.8.8.8/31", "10.0.0.1",
        "127.0.0.0/8",   "[::]/0",    "[2000::]/3", "[2606:4700::]/32", "10.0.0.0/8",
        "[2606:4700::1]"};
    return targets({one_of(kNetworks)}).front();
  }

  std::mt19937 random_;
};

template <class Check>
void for_many(Check check) {
  for (uint32_t seed = 0; seed < kCases && !::testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    World world(seed);
    check(world);
  }
}

std::string shown(const EgressPolicy& policy) {
  return boost::json::serialize(to_json(policy));
}

/// All that `narrow` allows, `wide` allows. Counts what passed: a rule is tried only where it could
/// be broken.
void expect_within(World& world, const EgressPolicy& narrow, const EgressPolicy& wide,
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

TEST(Property, TextAndJsonComeBackAsTheyWere) {
  for_many([](World& world) {
    Target target = world.target();
    auto read = parse_target(to_string(target));
    ASSERT_TRUE(read) << to_string(target);
    ASSERT_EQ(read.value(), target);
    EgressPolicy policy = world.policy();
    auto parsed = parse_egress(boost::json::parse(shown(policy)).as_object());
    ASSERT_TRUE(parsed) << shown(policy);
    ASSERT_EQ(parsed.value(), policy) << shown(policy);
  });
}

TEST(Property, ALayerMoreNeverAllowsMore) {
  int passed = 0;
  for_many([&](World& world) {
    EgressPolicy wide = world.policy(), narrow = wide;
    auto at = narrow.layers.begin() + world.below(int(narrow.layers.size()) + 1);
    narrow.layers.insert(at, world.layer());
    expect_within(world, narrow, wide, passed);
  });
  EXPECT_GT(passed, int(kCases) / 4);
}

TEST(Property, LessOnAListNeverAllowsMore) {
  int passed = 0;
  for_many([&](World& world) {
    EgressPolicy wide = world.policy();
    wide.layers.front().allow.push_back(world.target());
    EgressPolicy narrow = wide;
    EgressLayer& layer = narrow.layers.front();
    switch (world.below(5)) {
      case 0:
        layer.allow.erase(layer.allow.begin() + world.below(int(layer.allow.size())));
        break;
      case 1:
        layer.deny.push_back(world.target());
        break;
      case 2:
        layer.allow_beats_deny = false;
        break;
      case 3:
        narrow.private_networks.clear();
        break;
      case 4:
        layer.level = std::min(layer.level, world.level());
        break;
    }
    expect_within(world, narrow, wide, passed);
  });
  EXPECT_GT(passed, int(kCases) / 4);
}

TEST(Property, AHigherLabelNeverAllowsMoreHoweverTheOperatorSetsLabels) {
  int passed = 0;
  for_many([&](World& world) {
    EgressPlatform platform = world.platform();
    EgressRequest request = world.request();
    for (size_t i = 1; i < kLabels.size(); ++i) {
      EgressPlan narrow = plan_egress(platform, kLabels[i], request);
      EgressPlan wide = plan_egress(platform, kLabels[i - 1], request);
      ASSERT_TRUE(wide.decision.allowed || !narrow.decision.allowed);
      expect_within(world, narrow.policy, wide.policy, passed);
    }
  });
  EXPECT_GT(passed, int(kCases) / 4);
}

TEST(Property, ALowerCeilingNeverAllowsMore) {
  int passed = 0;
  for_many([&](World& world) {
    EgressPlatform wide = world.platform(), narrow = wide;
    narrow.ceiling = std::min(narrow.ceiling, world.level());
    if (world.once_in(2)) narrow.deny.push_back(world.target());
    Label label = kLabels[size_t(world.below(4))];
    EgressRequest request = world.request();
    expect_within(world, plan_egress(narrow, label, request).policy,
                  plan_egress(wide, label, request).policy, passed);
  });
  EXPECT_GT(passed, int(kCases) / 4);
}

TEST(Property, LessOnTheListThatIsAskedForNeverAllowsMore) {
  int passed = 0;
  for_many([&](World& world) {
    EgressPlatform platform = world.platform();
    Label label = kLabels[size_t(world.below(4))];
    EgressRequest wide = world.request();
    auto list = world.once_in(2) ? &EgressRequest::own_allow : &EgressRequest::allow_out;
    (wide.*list).push_back(world.target());
    EgressRequest narrow = wide;
    (narrow.*list).erase((narrow.*list).begin() + world.below(int((narrow.*list).size())));
    EgressPlan narrow_plan = plan_egress(platform, label, narrow);
    EgressPlan wide_plan = plan_egress(platform, label, wide);
    ASSERT_TRUE(narrow_plan.decision.allowed || !wide_plan.decision.allowed);
    expect_within(world, narrow_plan.policy, wide_plan.policy, passed);
  });
  EXPECT_GT(passed, int(kCases) / 4);
}

TEST(Property, NeitherKindOfWordsLoosensWhatTheOtherSays) {
  int passed = 0;
  for_many([&](World& world) {
    EgressPlatform platform = world.platform();
    // A label that asks for a list takes either's, and then more than of the other alone.
    platform.labels = EgressPlatform().labels;
    Label label = Label::public_data;
    EgressRequest both = world.request();
    both.level = world.level();
    EgressRequest own = both, e2b = both;
    own.allow_internet_access = {};
    own.allow_out = own.deny_out = {};
    e2b.level = {};
    e2b.own_allow = e2b.own_deny = {};
    EgressPolicy policy = plan_egress(platform, label, both).policy;
    expect_within(world, policy, plan_egress(platform, label, own).policy, passed);
    bool says_less = both.allow_internet_access == false || !both.allow_out.empty() ||
                     !both.deny_out.empty();
    if (!says_less) return;
    EgressPolicy e2bs = plan_egress(platform, label, e2b).policy;
    expect_within(world, policy, e2bs, passed);
  });
  EXPECT_GT(passed, int(kCases) / 4);
}

TEST(Property, AskingForTheInternetGetsNoLessThanAskingForNothing) {
  int passed = 0;
  for_many([&](World& world) {
    EgressPlatform platform = world.platform();
    Label label = kLabels[size_t(world.below(4))];
    EgressRequest all;
    all.allow_internet_access = true;
    expect_within(world, plan_egress(platform, label, {}).policy,
                  plan_egress(platform, label, all).policy, passed);
  });
  EXPECT_GT(passed, int(kCases) / 4);
}

TEST(Property, WhatWasGrantedByLevelIsReallyLetThrough) {
  int passed = 0;
  for_many([&](World& world) {
    EgressPlatform platform = world.platform();
    platform.deny.clear();
    EgressRequest request = world.request();
    request.level = EgressLevel::allow;
    Label label = kLabels[size_t(world.below(4))];
    EgressPlan plan = plan_egress(platform, label, request);
    if (!plan.decision.allowed) return;
    EgressPolicy asked;
    for (const EgressLayer& each : plan.policy.layers) {
      if (each.name == "request") asked.layers.push_back(each);
    }
    asked.private_networks = platform.private_networks;
    ASSERT_FALSE(asked.layers.empty());
    expect_within(world, asked, plan.policy, passed);
  });
  EXPECT_GT(passed, int(kCases) / 4);
}

TEST(Property, WhatAListCoversItMatches) {
  int covered = 0;
  for_many([&](World& world) {
    std::vector<Target> list = world.list(8);
    Target entry = world.target();
    if (!covers(list, entry)) return;
    ++covered;
    auto allows = [](std::vector<Target> allow, const Destination& to) {
      EgressPolicy policy;
      policy.layers = {layer("list", EgressLevel::allow, std::move(allow))};
      policy.private_networks = targets({"0.0.0.0/0"});
      return may_connect(policy, to).allowed;
    };
    for (int i = 0; i < kProbes; ++i) {
      Destination to = world.destination();
      ASSERT_TRUE(!allows({entry}, to) || allows(list, to))
          << to_string(entry) << " " << to_string(to);
    }
  });
  EXPECT_GT(covered, int(kCases) / 8);
}

TEST(Property, TheQuestionsAgreeWithEachOther) {
  for_many([](World& world) {
    EgressPolicy policy = world.policy();
    for (int i = 0; i < kProbes; ++i) {
      Destination to = world.destination();
      Decision decision = may_connect(policy, to);
      SCOPED_TRACE(to_string(to) + " " + shown(policy));
      ASSERT_FALSE(decision.rule.empty() || decision.reason.empty());
      ASSERT_EQ(decision.remedy.empty(), decision.allowed);
      if (!decision.allowed) continue;
      if (to.address) {
        ASSERT_TRUE(is_public(*to.address) || !policy.private_networks.empty());
      }
      if (to.name.empty()) continue;
      // Each step on the way is allowed before the next one is tried.
      ASSERT_TRUE(may_resolve(policy, to.name).allowed);
      ASSERT_TRUE(may_connect(policy, {to.name, {}, to.port}).allowed);
      if (must_agree(policy, to)) continue;
      // Where nothing has to agree, any name would have done.
      Destination other = {world.name(), to.address, to.port};
      ASSERT_TRUE(may_connect(policy, other).allowed) << other.name;
    }
  });
}

}  // namespace
}  // namespace hako::policy
