#include "policy/quota.h"

#include <gtest/gtest.h>

namespace hako::policy {
namespace {

Result<Quota> parse(const char* text) {
  return quota_from(boost::json::parse(text).as_object());
}

TEST(Quota, IsReadAndWrittenAlike) {
  Quota all{1, 2, 3, 4, 5, 6, 7, 8, 9};
  EXPECT_EQ(quota_from(to_json(all)).value(), all);
  EXPECT_EQ(parse(R"({"boxes":1,"vcpus":2,"memoryMB":3,"diskMB":4,"createsPerMinute":5,
                      "egressBytesPerDay":6,"modelRequestsPerMonth":7,"modelTokensPerMonth":8,
                      "modelMicroUSDPerMonth":9})").value(), all);
  EXPECT_EQ(parse("{}").value(), Quota());
  EXPECT_TRUE(to_json(Quota()).empty());
  EXPECT_EQ(parse(R"({"boxes":0,"vcpus":null})").value(), (Quota{.boxes = 0}));
}

TEST(Quota, SaysWhatIsWrong) {
  struct {
    const char* text;
    const char* part;
  } cases[] = {
      {R"({"box":1})", "\"box\""},
      {R"({"boxes":-1})", "boxes must be"},
      {R"({"vcpus":"2"})", "vcpus must be"},
      {R"({"memoryMB":1.5})", "memoryMB must be"},
      {R"({"diskMB":9223372036854775808})", "diskMB must be"},
      {R"({"createsPerMinute":true})", "createsPerMinute must be"},
      {R"({"egressBytesPerDay":1000000000000001})", "egressBytesPerDay must be"},
  };
  for (const auto& each : cases) {
    auto quota = parse(each.text);
    ASSERT_FALSE(quota) << each.text;
    EXPECT_EQ(quota.error().code(), ErrorCode::invalid_argument);
    EXPECT_NE(quota.error().message().find(each.part), std::string::npos)
        << quota.error().message();
  }
}

TEST(Quota, IsKeptToTheLastUnitOfEach) {
  Quota quota{.boxes = 2, .vcpus = 4, .memory_mib = 1024, .disk_mib = 8192};
  Amounts one{1, 2, 512, 4096};
  EXPECT_TRUE(within(quota, {}, one).allowed);
  EXPECT_TRUE(within(quota, one, one).allowed) << "exactly full";
  struct {
    Amounts in_use;
    const char* rule;
  } cases[] = {
      {{2, 0, 0, 0}, "quota.boxes"},
      {{1, 3, 0, 0}, "quota.vcpus"},
      {{1, 2, 513, 0}, "quota.memory"},
      {{1, 2, 512, 4097}, "quota.disk"},
  };
  for (const auto& each : cases) {
    Decision decision = within(quota, each.in_use, one);
    EXPECT_FALSE(decision.allowed);
    EXPECT_EQ(decision.rule, each.rule);
    EXPECT_NE(decision.reason, "");
    EXPECT_NE(decision.remedy.find("end sandboxes"), std::string::npos);
  }
  EXPECT_NE(within(quota, {}, {1, 5, 0, 0}).remedy.find("ask for less"), std::string::npos);
}

TEST(Quota, WhatItDoesNotNameIsNotLimited) {
  Amounts vast{INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX};
  EXPECT_TRUE(within({}, vast, vast).allowed);
  EXPECT_TRUE(within({.boxes = 1}, {0, 99, 99, 99}, {1, 99, 99, 99}).allowed);
}

TEST(Quota, ZeroAllowsNothingAndNoSumRunsOver) {
  EXPECT_FALSE(within({.boxes = 0}, {}, {.boxes = 1}).allowed);
  EXPECT_FALSE(within({.memory_mib = 10}, {.memory_mib = INT64_MAX}, {.memory_mib = 1}).allowed);
  EXPECT_FALSE(within({.memory_mib = 10}, {.memory_mib = 1}, {.memory_mib = INT64_MAX}).allowed);
  // More in use than a quota that was lowered meanwhile.
  EXPECT_FALSE(within({.boxes = 1}, {.boxes = 5}, {.boxes = 1}).allowed);
}

}  // namespace
}  // namespace hako::policy
