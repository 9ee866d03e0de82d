// Limits on how often, and turns between groups.
#include <gtest/gtest.h>

#include <map>
#include <random>

#include "base/async/fair_queue.h"
#include "base/async/task_group.h"
#include "base/token_bucket.h"
#include "support/run_task.h"

namespace hako {
namespace {

using namespace std::chrono_literals;
using test::run_on;

class Buckets : public testing::Test {
 protected:
  TokenBucket::Time now_{1h};
};

TEST_F(Buckets, ABurstAndThenAtTheRate) {
  TokenBucket bucket(10, 3);
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(bucket.take(now_));
  EXPECT_FALSE(bucket.take(now_));
  EXPECT_FALSE(bucket.take(now_ + 90ms));
  EXPECT_TRUE(bucket.take(now_ + 110ms));
  EXPECT_FALSE(bucket.take(now_ + 111ms));
  // Nothing is saved beyond the burst, and time that runs back gives nothing.
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(bucket.take(now_ + 1h));
  EXPECT_FALSE(bucket.take(now_ + 1h));
  EXPECT_FALSE(bucket.take(now_));
}

TEST_F(Buckets, WithoutALimitEverythingPasses) {
  TokenBucket bucket(0, 1);
  for (int i = 0; i < 1000; ++i) EXPECT_TRUE(bucket.take(now_));
  EXPECT_EQ(bucket.spend(now_, 1e12), 0s);
}

TEST_F(Buckets, WhatWasSpentBeforehandIsWaitedFor) {
  TokenBucket bucket(1000, 100);
  EXPECT_EQ(bucket.spend(now_, 100), 0s);
  EXPECT_EQ(bucket.spend(now_, 500), 500ms);
  EXPECT_EQ(bucket.spend(now_ + 100ms, 100), 500ms);
  EXPECT_EQ(bucket.spend(now_ + 600ms, 0), 0s);
}

TEST_F(Buckets, SayWhenTheNextOneIsThere) {
  TokenBucket bucket(0.5, 1);
  EXPECT_EQ(bucket.wait(now_), 0s);
  EXPECT_TRUE(bucket.take(now_));
  EXPECT_EQ(bucket.wait(now_), 2s);
  EXPECT_EQ(bucket.wait(now_ + 1500ms), 500ms);
  EXPECT_FALSE(bucket.take(now_ + 1900ms));
  EXPECT_TRUE(bucket.take(now_ + 2s));
  EXPECT_EQ(TokenBucket(0, 1).wait(now_), 0s);
}

TEST_F(Buckets, LimitsChange) {
  TokenBucket bucket(0, 1);
  EXPECT_TRUE(bucket.take(now_));
  bucket.change(now_, 1, 2);
  EXPECT_TRUE(bucket.take(now_));
  EXPECT_FALSE(bucket.take(now_));
  bucket.change(now_ + 1s, 10, 1);
  EXPECT_TRUE(bucket.take(now_ + 1s));
  EXPECT_FALSE(bucket.take(now_ + 1s));
}

class FairQueueTest : public testing::Test {
 protected:
  /// Takes a turn, writes down that it has it, and holds it until told to let go.
  Task<void> hold(FairQueue& queue, std::string group) {
    auto turn = co_await queue.take(group);
    if (!turn) {
      refused.push_back(group);
      co_return;
    }
    asio::steady_timer until(loop, asio::steady_timer::time_point::max());
    // Also when it is cancelled, which shows as an exception.
    struct Holding {
      Holding(FairQueueTest& test, std::string group, asio::steady_timer* until)
          : test(test), group(std::move(group)), until(until) {
        test.entered.push_back(this->group);
        test.held.push_back(until);
        ++test.holding[this->group];
        test.most = std::max(test.most, ++test.all);
      }
      ~Holding() {
        std::erase(test.held, until);
        --test.holding[group];
        --test.all;
      }
      FairQueueTest& test;
      std::string group;
      asio::steady_timer* until;
    } holds(*this, group, &until);
    boost::system::error_code ignored;
    co_await until.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  }

  void start(FairQueue& queue, const std::string& group, int count = 1) {
    for (int i = 0; i < count; ++i) tasks.spawn(group, hold(queue, group));
    settle();
  }

  /// Runs whatever can run now.
  void settle() {
    loop.restart();
    while (loop.poll() > 0) {
    }
  }

  void let_go_of_oldest() {
    held.front()->cancel();
    settle();
  }

  void TearDown() override {
    auto stop = tasks.stop();
    run_on(loop, std::move(stop));
  }

  asio::io_context loop;
  std::vector<std::string> entered, refused;
  std::map<std::string, int> holding;
  std::vector<asio::steady_timer*> held;
  int all = 0, most = 0;
  TaskGroup tasks{loop.get_executor()};  // last: what it runs uses the others
};

using Names = std::vector<std::string>;

TEST_F(FairQueueTest, GroupsTakeTurnsHoweverManyEachHasWaiting) {
  FairQueue queue({1, 1, 100});
  start(queue, "greedy", 6);
  start(queue, "small", 2);
  start(queue, "other", 1);
  EXPECT_EQ(queue.waiting(), 8u);
  EXPECT_EQ(queue.waiting_of("greedy"), 5u);
  while (!held.empty()) let_go_of_oldest();
  EXPECT_EQ(entered, (Names{"greedy", "greedy", "small", "other", "greedy", "small", "greedy",
                            "greedy", "greedy"}));
  EXPECT_EQ(most, 1);
  EXPECT_EQ(queue.waiting(), 0u);
}

TEST_F(FairQueueTest, OneGroupLeavesRoomForAnother) {
  FairQueue queue({3, 2, 100});
  start(queue, "greedy", 10);
  EXPECT_EQ(holding["greedy"], 2);
  start(queue, "small");
  EXPECT_EQ(holding["small"], 1) << "at once, whatever the greedy one has";
  start(queue, "small", 2);
  start(queue, "third");
  EXPECT_EQ(holding["small"], 1);
  let_go_of_oldest();
  EXPECT_EQ(holding["third"], 1);
  let_go_of_oldest();
  EXPECT_EQ(holding["greedy"], 1) << "whoever holds less goes first";
  EXPECT_EQ(holding["small"], 1);
  EXPECT_EQ(most, 3);
}

TEST_F(FairQueueTest, ByItselfAGroupIsHeldToItsPart) {
  FairQueue queue({3, 2, 100});
  start(queue, "greedy", 10);
  while (!held.empty()) let_go_of_oldest();
  EXPECT_EQ(entered.size(), 10u);
  EXPECT_EQ(most, 2);
}

TEST_F(FairQueueTest, WhoHasTooManyWaitingIsRefusedAtOnceAndOthersAreNot) {
  FairQueue queue({1, 1, 2});
  start(queue, "greedy", 5);
  EXPECT_EQ(refused, (Names{"greedy", "greedy"}));
  start(queue, "small", 2);
  EXPECT_EQ(refused.size(), 2u);
  while (!held.empty()) let_go_of_oldest();
  EXPECT_EQ(entered.size(), 5u);
  start(queue, "greedy", 1);
  EXPECT_EQ(entered.size(), 6u) << "what has passed is forgotten";
}

TEST_F(FairQueueTest, WhoGivesUpLosesNothingForOthers) {
  FairQueue queue({1, 1, 100});
  start(queue, "a");
  TaskGroup gone(loop.get_executor());
  gone.spawn("waits", hold(queue, "b"));
  gone.spawn("waits", hold(queue, "c"));
  settle();
  start(queue, "c");
  EXPECT_EQ(queue.waiting(), 3u);
  asio::post(loop, [&gone] { gone.cancel(); });
  settle();
  EXPECT_EQ(queue.waiting(), 1u);
  EXPECT_EQ(queue.waiting_of("b"), 0u);
  let_go_of_oldest();
  EXPECT_EQ(entered, (Names{"a", "c"}));
  auto stop = gone.stop();
  run_on(loop, std::move(stop));
}

TEST_F(FairQueueTest, ATurnGrantedToWhoIsCancelledIsPassedOn) {
  FairQueue queue({1, 1, 100});
  start(queue, "a");
  TaskGroup gone(loop.get_executor());
  gone.spawn("waits", hold(queue, "b"));
  settle();
  start(queue, "c");
  // Both before anybody runs: the turn is b's when b ends.
  held.front()->cancel();
  loop.restart();
  loop.poll_one();
  asio::post(loop, [&gone] { gone.cancel(); });
  settle();
  while (!held.empty()) let_go_of_oldest();
  EXPECT_EQ(entered.back(), "c");
  EXPECT_EQ(queue.waiting(), 0u);
  auto stop = gone.stop();
  run_on(loop, std::move(stop));
}

TEST_F(FairQueueTest, AnyOrderOfEventsLeavesNobodyBehind) {
  std::mt19937 random(7);
  for (int round = 0; round < 50; ++round) {
    FairQueue queue({3, 2, 1000});
    TaskGroup others(loop.get_executor());
    entered.clear();
    refused.clear();
    most = 0;
    for (int i = 0; i < 60; ++i) {
      std::string group(1, static_cast<char>('a' + random() % 4));
      if (random() % 3 == 0)
        others.spawn(group, hold(queue, group));
      else
        tasks.spawn(group, hold(queue, group));
      if (random() % 2 == 0) settle();
      if (random() % 3 == 0 && !held.empty()) held[random() % held.size()]->cancel();
      if (random() % 20 == 0) {
        settle();
        asio::post(loop, [&others] { others.cancel(); });
        settle();
      }
    }
    settle();
    while (!held.empty()) let_go_of_oldest();
    EXPECT_EQ(queue.waiting(), 0u);
    EXPECT_EQ(tasks.size(), 0u);
    EXPECT_LE(most, 3);
    auto stop = others.stop();
    run_on(loop, std::move(stop));
  }
}

TEST(FairQueueEnd, TurnsAndWaitersMayOutliveIt) {
  asio::io_context loop;
  auto wait = [](FairQueue& queue) -> Task<void> {
    auto turn = co_await queue.take("a");
    EXPECT_TRUE(turn);
    co_await sleep_for(1h);
  };
  {
    FairQueue queue({1, 1, 10});
    for (int i = 0; i < 3; ++i) asio::co_spawn(loop, wait(queue), asio::detached);
    loop.poll();
    EXPECT_EQ(queue.waiting(), 2u);
  }
}

}  // namespace
}  // namespace hako
