#include "node/recent_use.h"

#include <gtest/gtest.h>

#include <vector>

namespace hako::node {
namespace {

using namespace std::chrono_literals;

class RecentUseTest : public testing::Test {
 protected:
  RecentUse use;
  RecentUse::Time now{100h};

  void take(const std::string& tenant, int count) {
    for (int i = 0; i < count; ++i) use.note(tenant, now);
  }
};

TEST_F(RecentUseTest, ByItselfATenantHasEverything) {
  EXPECT_TRUE(use.may_take_kept("a", now));
  take("a", 1000);
  EXPECT_TRUE(use.may_take_kept("a", now));
}

TEST_F(RecentUseTest, WhoTakesMuchLeavesTheRestToOthers) {
  take("a", 20);
  take("b", 2);
  now += 1s;
  EXPECT_FALSE(use.may_take_kept("a", now));
  EXPECT_TRUE(use.may_take_kept("b", now));
  EXPECT_TRUE(use.may_take_kept("new", now));
}

TEST_F(RecentUseTest, ANewcomerDoesNotTakeAllThatIsKeptAtOnce) {
  take("a", 5);
  now += 1s;
  EXPECT_TRUE(use.may_take_kept("b", now));
  take("b", 1);
  EXPECT_FALSE(use.may_take_kept("b", now)) << "it is in a hurry";
  now += 1s;
  EXPECT_TRUE(use.may_take_kept("b", now));
}

TEST_F(RecentUseTest, KnowsWhetherAnybodyElseIsThere) {
  EXPECT_FALSE(use.has_others("a", now));
  take("a", 1);
  EXPECT_FALSE(use.has_others("a", now));
  EXPECT_TRUE(use.has_others("b", now));
  take("b", 1);
  EXPECT_TRUE(use.has_others("a", now));
  now += 61min;
  EXPECT_FALSE(use.has_others("a", now));
}

TEST_F(RecentUseTest, ANewcomerMakesTheFirstOneGreedyOnlyWhileItIsRemembered) {
  take("a", 20);
  take("b", 1);
  EXPECT_FALSE(use.may_take_kept("a", now));
  now += 61min;
  take("a", 20);
  EXPECT_TRUE(use.may_take_kept("a", now));
}

TEST_F(RecentUseTest, WhatWasLongAgoCountsForLittle) {
  take("a", 64);
  now += 5min;  // ten half-lives
  take("b", 1);
  EXPECT_TRUE(use.may_take_kept("a", now));
  EXPECT_FALSE(use.may_take_kept("b", now));
}

TEST_F(RecentUseTest, TheFirstBurstOfAnotherDoesNotFindTheSlowOneGreedy) {
  for (int i = 0; i < 30; ++i) {
    take("slow", 1);
    now += 2s;
  }
  take("burst", 3);
  EXPECT_TRUE(use.may_take_kept("slow", now));
  EXPECT_FALSE(use.may_take_kept("burst", now));
}

TEST_F(RecentUseTest, WhoHasMuchTakesNothingOfTheRestHoweverSlowly) {
  std::vector<RecentUse::Held> many;
  for (int i = 0; i < 8; ++i) many.push_back(use.hold("many"));
  take("few", 2);
  now += 2s;
  EXPECT_FALSE(use.may_take_kept("many", now));
  EXPECT_TRUE(use.may_take_kept("few", now));
  many.clear();
  EXPECT_TRUE(use.may_take_kept("many", now));
}

TEST_F(RecentUseTest, WhoHasSomethingIsNotForgotten) {
  auto one = use.hold("a");
  now += 61min;
  EXPECT_TRUE(use.has_others("b", now));
}

TEST_F(RecentUseTest, OfEqualsNobodyHasLessThanItsPart) {
  take("a", 3);
  take("b", 3);
  EXPECT_FALSE(use.may_take_kept("a", now));
  EXPECT_FALSE(use.may_take_kept("b", now));
}

}  // namespace
}  // namespace hako::node
