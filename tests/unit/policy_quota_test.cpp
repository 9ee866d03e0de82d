#include "policy/quota.h"

#include <gtest/gtest.h>

namespace hako::policy {
namespace {

Result<Quota> parse(const char* text) {
  return quota_from(boost::json::parse(text).as_object());
}

TEST(Quota, IsReadAndWrittenAlike) {
  Quota all{1, 2, 3, 4, 5, 6};
  EXPECT_EQ(quota_from(to_json(all)).value(), all);
  EXPECT_EQ(parse(R"({"boxes":1,"vcpus":2,"memoryMB":3,"diskMB":4,"createsPerMinute":5,
                      "egressBytesPerDay":6})").value(), all);
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

}  // namespace
}  // namespace hako::policy
