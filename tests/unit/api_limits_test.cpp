// What one tenant may have, and have under way.
#include <gtest/gtest.h>

#include "api/admission.h"
#include "api/server.h"
#include "api/tenant_limits.h"
#include "base/async/task_group.h"
#include "support/run_task.h"

namespace hako::api {
namespace {

using namespace std::chrono_literals;
using test::run_on;

store::SandboxRecord one_box() {
  store::SandboxRecord record;
  record.vcpus = 2;
  record.memory_mib = 512;
  record.disk_mib = 4096;
  return record;
}

TEST(AdmissionQuota, TheLastOneFitsAndTheNextIsToldWhenToAsk) {
  policy::Quota quota{.boxes = 3, .vcpus = 6, .memory_mib = 1536, .disk_mib = 3 * 4096};
  store::Store::InUse in_use;
  in_use.tenant = {2, 4, 1024, 2 * 4096};
  EXPECT_TRUE(admit({}, quota, one_box(), in_use));
  struct {
    store::Usage now;
    const char* rule;
  } cases[] = {
      {{3, 0, 0, 0}, "quota.boxes"},
      {{2, 5, 0, 0}, "quota.vcpus"},
      {{2, 4, 1025, 0}, "quota.memory"},
      {{2, 4, 1024, 2 * 4096 + 1}, "quota.disk"},
  };
  for (const auto& each : cases) {
    in_use.tenant = each.now;
    auto admitted = admit({}, quota, one_box(), in_use);
    ASSERT_FALSE(admitted) << each.rule;
    EXPECT_EQ(admitted.error().code(), ErrorCode::resource_exhausted);
    EXPECT_NE(admitted.error().message().find(each.rule), std::string::npos)
        << admitted.error().message();
    EXPECT_GT(admitted.error().retry_after(), 0s);
  }
}

TEST(AdmissionQuota, ATenantWithoutOneIsNotHeldBack) {
  store::Store::InUse in_use;
  in_use.tenant = {1'000'000, 1'000'000, 1'000'000'000, 1'000'000'000};
  EXPECT_TRUE(admit({}, {}, one_box(), in_use));
}

TEST(AdmissionAnswer, Is429WithTheSecondsThatItTakes) {
  Error error = Error(ErrorCode::resource_exhausted, "no").with_retry_after(17s);
  auto response = response_for(error);
  EXPECT_EQ(response.status, 429u);
  EXPECT_EQ(response.fields[http::Field::retry_after], "17");
  EXPECT_EQ(response_for(error.with_context("seen from above")).fields[http::Field::retry_after],
            "17");
  auto unknown = response_for(Error(ErrorCode::resource_exhausted, "no"));
  EXPECT_EQ(unknown.fields[http::Field::retry_after], "1");
}

class TenantLimitsTest : public testing::Test {
 protected:
  config::Config config;
  TenantLimits::Time now{1h};
  asio::io_context loop;
};

TEST_F(TenantLimitsTest, CreatesPerMinuteAreCounted) {
  TenantLimits limits(config);
  policy::Quota quota{.creates_per_minute = 3};
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(limits.count_create("a", quota, now));
  auto refused = limits.count_create("a", quota, now);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), ErrorCode::resource_exhausted);
  EXPECT_NE(refused.error().message().find("quota.creates"), std::string::npos);
  EXPECT_EQ(refused.error().retry_after(), 20s);
  EXPECT_TRUE(limits.count_create("b", quota, now)) << "another tenant's are its own";
  EXPECT_FALSE(limits.count_create("a", quota, now + 19s));
  EXPECT_TRUE(limits.count_create("a", quota, now + 20s)) << "as it was told";
  EXPECT_FALSE(limits.count_create("a", quota, now + 21s));
  for (int i = 0; i < 9; ++i) EXPECT_TRUE(limits.may_create("b", quota, now)) << "takes none";
}

TEST_F(TenantLimitsTest, AQuotaThatChangesCountsFromTheNextCreateOn) {
  TenantLimits limits(config);
  EXPECT_TRUE(limits.count_create("a", {.creates_per_minute = 1}, now));
  EXPECT_FALSE(limits.count_create("a", {.creates_per_minute = 1}, now));
  EXPECT_TRUE(limits.count_create("a", {}, now)) << "none";
  EXPECT_TRUE(limits.count_create("a", {.creates_per_minute = 2}, now));
  EXPECT_TRUE(limits.count_create("a", {.creates_per_minute = 2}, now));
  auto refused = limits.count_create("a", {.creates_per_minute = 0}, now);
  ASSERT_FALSE(refused);
  EXPECT_GE(refused.error().retry_after(), 60s) << "waiting does not help";
}

TEST_F(TenantLimitsTest, ATenantsCreatesWaitAndAnothersBeginAtOnce) {
  config.creates_at_once = 3;
  config.creates_waiting = 1;
  TenantLimits limits(config);
  int held = 0, refused = 0;
  auto hold = [&](std::string tenant) -> Task<void> {
    auto turn = co_await limits.take_create(tenant);
    if (!turn) {
      EXPECT_EQ(turn.error().code(), ErrorCode::resource_exhausted);
      EXPECT_NE(turn.error().message().find("fairness.creates"), std::string::npos);
      EXPECT_GT(turn.error().retry_after(), 0s);
      ++refused;
      co_return;
    }
    ++held;
    co_await sleep_for(1h);
  };
  TaskGroup tasks(loop.get_executor());
  auto settle = [&] {
    loop.restart();
    loop.poll();
  };
  for (int i = 0; i < 4; ++i) tasks.spawn("greedy", hold("greedy"));
  settle();
  EXPECT_EQ(held, 2);
  EXPECT_EQ(refused, 1);
  tasks.spawn("small", hold("small"));
  settle();
  EXPECT_EQ(held, 3);
  auto stop = tasks.stop();
  run_on(loop, std::move(stop));
}

TEST_F(TenantLimitsTest, CallsOfOneTenantWaitForEachOther) {
  config.calls_at_once = 2;
  TenantLimits limits(config);
  int held = 0, refused = 0;
  auto hold = [&](std::string tenant) -> Task<void> {
    auto turn = co_await limits.take_call(tenant);
    if (!turn) {
      EXPECT_NE(turn.error().message().find("fairness.calls"), std::string::npos);
      ++refused;
      co_return;
    }
    ++held;
    co_await sleep_for(1h);
  };
  TaskGroup tasks(loop.get_executor());
  for (int i = 0; i < 300; ++i) tasks.spawn("greedy", hold("greedy"));
  tasks.spawn("small", hold("small"));
  loop.poll();
  EXPECT_EQ(held, 3);
  EXPECT_EQ(refused, 300 - 2 - 256);
  auto stop = tasks.stop();
  run_on(loop, std::move(stop));
}

/// Calls that begin and do not end.
struct HeldCalls {
  TenantLimits& limits;
  std::map<std::string, int> held = {};

  Task<void> hold(std::string tenant) {
    auto turn = co_await limits.take_call(tenant);
    if (!turn) co_return;
    ++held[tenant];
    co_await sleep_for(1h);
  }
};

TEST_F(TenantLimitsTest, ThreeTenantsDoNotHaveAllCalls) {
  for (int at_once : {64, 512}) {
    config.calls_at_once = at_once;
    config.calls_per_second = 0;
    TenantLimits limits(config);
    HeldCalls calls{limits};
    TaskGroup tasks(loop.get_executor());
    for (std::string tenant : {"a", "b", "c"}) {
      for (int i = 0; i < 700; ++i) tasks.spawn("call", calls.hold(tenant));
    }
    tasks.spawn("call", calls.hold("small"));
    loop.restart();
    loop.poll();
    EXPECT_EQ(calls.held["a"], at_once);
    EXPECT_EQ(calls.held["c"], at_once);
    EXPECT_EQ(calls.held["small"], 1);
    auto stop = tasks.stop();
    run_on(loop, std::move(stop));
  }
}

TEST_F(TenantLimitsTest, CallsBeyondTheRateWait) {
  config.calls_per_second = 2;
  TenantLimits limits(config);
  HeldCalls calls{limits};
  TaskGroup tasks(loop.get_executor());
  for (int i = 0; i < 20; ++i) tasks.spawn("call", calls.hold("greedy"));
  tasks.spawn("call", calls.hold("small"));
  loop.poll();
  EXPECT_LT(calls.held["greedy"], 20);
  EXPECT_EQ(calls.held["small"], 1) << "another tenant's are its own";
  auto stop = tasks.stop();
  run_on(loop, std::move(stop));
}

}  // namespace
}  // namespace hako::api
