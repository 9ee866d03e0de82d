// All labels, levels and operations against the table that hako is built on: confidential data with
// a way to the outside is never acceptable.
#include <gtest/gtest.h>

#include "policy_samples.h"

namespace hako::policy {
namespace {

using namespace test;

constexpr EgressLevel kLevels[] = {EgressLevel::none, EgressLevel::allow, EgressLevel::internet};

/// The table: what may be reached at most from a box that holds data with a label.
constexpr EgressLevel kTable[] = {
    EgressLevel::internet,  // public: the whole internet is acceptable
    EgressLevel::allow,     // internal: what somebody has listed
    EgressLevel::none,      // confidential: nothing outside
    EgressLevel::none,      // secret
};

const std::vector<Target> kList = targets({"listed.example", "8.8.8.0/24"});

/// A way to ask at create, and what it asks for.
struct Ask {
  const char* name;
  EgressRequest request;
  std::optional<EgressLevel> wants;  ///< nothing: the standard
};

std::vector<Ask> asks() {
  std::vector<Ask> all;
  auto add = [&](const char* name, std::optional<EgressLevel> level,
                 std::optional<bool> internet_access, std::vector<Target> allow,
                 std::vector<Target> deny, std::optional<EgressLevel> wants) {
    EgressRequest request;
    request.level = level;
    request.allow_internet_access = internet_access;
    if (level == EgressLevel::allow) request.own_allow = kList;
    request.allow_out = std::move(allow);
    request.deny_out = std::move(deny);
    all.push_back({name, std::move(request), wants});
  };
  using L = EgressLevel;
  std::vector<Target> everything = targets({"0.0.0.0/0"});
  add("nothing asked", {}, {}, {}, {}, {});
  add("level none", L::none, {}, {}, {}, L::none);
  add("level allow", L::allow, {}, {}, {}, L::allow);
  add("level internet", L::internet, {}, {}, {}, L::internet);
  add("level none, SDK", L::none, true, {}, {}, L::none);
  add("level allow, SDK", L::allow, true, {}, {}, L::allow);
  add("level internet, SDK", L::internet, true, {}, {}, L::internet);
  add("level none, SDK, all", L::none, true, everything, {}, L::none);
  add("level allow, SDK, all", L::allow, true, everything, {}, L::allow);
  add("level allow, SDK without internet", L::allow, false, {}, {}, L::none);
  add("level allow, SDK, all denied but a list", L::allow, true, kList, everything, L::allow);
  add("level internet, SDK, all denied but a list", L::internet, true, kList, everything,
      L::allow);
  add("SDK", {}, true, {}, {}, L::internet);
  add("SDK without internet", {}, false, {}, {}, L::none);
  add("SDK without internet, list", {}, false, kList, {}, L::allow);
  add("SDK, all denied", {}, true, {}, everything, L::none);
  add("SDK, all denied but a list", {}, true, kList, everything, L::allow);
  return all;
}

/// What the policy really lets out, by trying: nothing, exactly the list, or every public address.
EgressLevel reach_of(const EgressPolicy& policy) {
  auto passes = [&](const Destination& to) { return may_connect(policy, to).allowed; };
  bool listed = passes(to_name("listed.example"));
  bool unlisted = passes(to_name("other.example"));
  EXPECT_EQ(may_resolve(policy, "listed.example").allowed, listed);
  EXPECT_EQ(may_resolve(policy, "other.example").allowed, unlisted);
  EXPECT_EQ(passes(to_address("8.8.8.8", 53)), listed);
  EXPECT_EQ(passes(to_address("1.1.1.1")), unlisted);
  EXPECT_EQ(passes(resolved("listed.example", "1.1.1.1")), listed);
  EXPECT_EQ(passes(resolved("other.example", "8.8.8.8")), unlisted);
  for (const char* address : {"10.0.0.1", "127.0.0.1", "169.254.169.254", "198.18.0.1", "::1"}) {
    EXPECT_FALSE(passes(to_address(address))) << address;
    EXPECT_FALSE(passes(resolved("listed.example", address))) << address;
  }
  EXPECT_TRUE(listed || !unlisted);
  return unlisted ? EgressLevel::internet : listed ? EgressLevel::allow : EgressLevel::none;
}

EgressLevel table(Label label) {
  return kTable[static_cast<size_t>(label)];
}

/// What a box gets by the table.
EgressLevel expected_reach(const EgressPlatform& platform, Label label, const Ask& ask) {
  EgressLevel wants = ask.wants.value_or(platform.standard);
  EgressLevel most = std::min(platform.ceiling, table(label));
  if (wants == EgressLevel::internet && most == EgressLevel::allow) {
    // By a list only, and the request brought none: the operator's, if there is one.
    return platform.allow.empty() ? EgressLevel::none : EgressLevel::allow;
  }
  return std::min(wants, most);
}

template <class Check>
void for_all_platforms(Check check) {
  EgressPlatform listless;
  listless.ceiling = EgressLevel::internet;
  check(listless);
  for (EgressLevel ceiling : kLevels) {
    for (EgressLevel standard : kLevels) {
      EgressPlatform platform;
      platform.ceiling = ceiling;
      platform.standard = standard;
      platform.allow = kList;
      SCOPED_TRACE("ceiling " + std::string(to_string(ceiling)) + ", standard " +
                   std::string(to_string(standard)));
      check(platform);
    }
  }
}

TEST(Lattice, CreateAndConnect) {
  for_all_platforms([](const EgressPlatform& platform) {
    for (Label label : kLabels) {
      for (const Ask& ask : asks()) {
        SCOPED_TRACE(std::string(to_string(label)) + ", " + ask.name);
        EgressPlan plan = plan_egress(platform, label, ask.request);
        bool over_label = ask.request.level && *ask.request.level > table(label);
        bool over_ceiling = ask.request.level && *ask.request.level > platform.ceiling;
        EXPECT_EQ(plan.decision.allowed, !over_label && !over_ceiling);
        std::string rule = over_label     ? "label." + std::string(to_string(label))
                           : over_ceiling ? "platform.ceiling"
                                          : plan.decision.rule;
        EXPECT_EQ(plan.decision.rule, rule);
        EXPECT_EQ(plan.decision.remedy.empty(), plan.decision.allowed);
        EXPECT_EQ(reach_of(plan.policy), expected_reach(platform, label, ask));
      }
    }
  });
}

TEST(Lattice, ConfidentialDataReachesNothingWhateverIsAskedAndInWhateverOrder) {
  for_all_platforms([](const EgressPlatform& platform) {
    for (Label from : kLabels) {
      for (Label to : kLabels) {
        if (!may_relabel(from, to).allowed || to < Label::confidential) continue;
        for (const Ask& ask : asks()) {
          EXPECT_EQ(reach_of(plan_egress(platform, to, ask.request).policy), EgressLevel::none);
        }
      }
    }
  });
}

TEST(Lattice, RelabelNeverOpens) {
  for_all_platforms([](const EgressPlatform& platform) {
    for (Label from : kLabels) {
      for (Label to : kLabels) {
        Decision decision = may_relabel(from, to);
        EXPECT_EQ(decision.allowed, from <= to);
        EXPECT_EQ(decision.rule, "label.falls");
        EXPECT_EQ(high_water(from, to), decision.allowed ? to : from);
        if (!decision.allowed) continue;
        for (const Ask& ask : asks()) {
          EXPECT_LE(reach_of(plan_egress(platform, to, ask.request).policy),
                    reach_of(plan_egress(platform, from, ask.request).policy));
        }
      }
    }
  });
}

TEST(Lattice, LinksJoinEqualLabelsOnly) {
  for (Label from : kLabels) {
    for (Label to : kLabels) {
      Decision decision = may_link(from, to);
      EXPECT_EQ(decision.allowed, from == to);
      EXPECT_EQ(decision.rule, "link.label");
      EXPECT_EQ(decision.allowed, may_link(to, from).allowed);
      // What the remedy says leads there.
      Label high = high_water(from, to);
      EXPECT_TRUE(may_relabel(from, high).allowed && may_relabel(to, high).allowed);
    }
  }
}

TEST(Lattice, ReadingNeedsClearance) {
  for (Label clearance : kLabels) {
    for (Label label : kLabels) {
      Decision decision = may_read(clearance, label);
      EXPECT_EQ(decision.allowed, label <= clearance);
      EXPECT_EQ(decision.rule, "label.clearance");
      EXPECT_EQ(decision.remedy.empty(), decision.allowed);
      // Raising a box's label never lets more keys read it.
      for (Label higher : kLabels) {
        if (may_relabel(label, higher).allowed && may_read(clearance, higher).allowed) {
          EXPECT_TRUE(decision.allowed);
        }
      }
    }
  }
}

}  // namespace
}  // namespace hako::policy
