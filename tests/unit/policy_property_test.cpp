// Rules that hold for every policy, tried on many made at random. A failure prints the seed of its
// case, which makes the same case again.
#include <gtest/gtest.h>

#include "policy/target_match.h"
#include "policy_world.h"

namespace hako::policy {
namespace {

using namespace test;

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
    bool says_less =
        both.allow_internet_access == false || !both.allow_out.empty() || !both.deny_out.empty();
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
