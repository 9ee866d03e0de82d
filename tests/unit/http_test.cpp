#include "http/message.h"

#include <gtest/gtest.h>

namespace hako::http {
namespace {

RequestHead head_for(std::string target) {
  RequestHead head;
  head.target = std::move(target);
  return head;
}

TEST(RequestHead, splits_path_and_query) {
  EXPECT_EQ(head_for("/files?path=a").path(), "/files");
  EXPECT_EQ(head_for("/files?path=a").query(), "path=a");
  EXPECT_EQ(head_for("/files").query(), "");
  EXPECT_EQ(head_for("/a?b?c").query(), "b?c");
}

TEST(RequestHead, decodes_parameters) {
  auto head = head_for("/x?a=1&b=x%20y+z&c&a=2&d=%zz&e%3D=f");
  EXPECT_EQ(head.parameter("a"), "1");
  EXPECT_EQ(head.parameter("b"), "x y z");
  EXPECT_EQ(head.parameter("c"), "");
  EXPECT_EQ(head.parameter("d"), std::nullopt);
  EXPECT_EQ(head.parameter("e="), "f");
  EXPECT_EQ(head.parameter("missing"), std::nullopt);
}

TEST(RequestHead, finds_headers_whatever_their_case) {
  RequestHead head;
  head.fields.insert("E2b-Sandbox-Id", "abc");
  EXPECT_EQ(head.header("e2b-sandbox-id"), "abc");
  EXPECT_EQ(head.header("other"), "");
}

TEST(Response, error_bodies_carry_their_status) {
  auto response = error_response(Error(ErrorCode::not_found, "no such box"));
  EXPECT_EQ(response.status, 404u);
  EXPECT_EQ(response.body, R"({"code":404,"message":"no such box"})");
  EXPECT_EQ(response.fields[Field::content_type], "application/json");
}

TEST(Response, every_error_code_has_a_status) {
  for (int code = 0; code <= static_cast<int>(ErrorCode::internal); ++code) {
    unsigned status = status_of(static_cast<ErrorCode>(code));
    EXPECT_GE(status, 400u);
    EXPECT_LT(status, 600u);
  }
}

}  // namespace
}  // namespace hako::http
