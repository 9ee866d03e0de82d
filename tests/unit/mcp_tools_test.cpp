#include <gtest/gtest.h>

#include <boost/json/serialize.hpp>

#include <set>

#include "mcp/server.h"
#include "mcp/tool.h"

namespace hako::mcp {
namespace {

namespace json = boost::json;

TEST(McpTools, AllAreDescribed) {
  std::set<std::string_view> names;
  for (const Tool& tool : tools()) {
    EXPECT_TRUE(names.insert(tool.name).second) << tool.name;
    EXPECT_EQ(find_tool(tool.name), &tool);
    json::object described = describe(tool);
    EXPECT_EQ(described.at("inputSchema").at("type"), "object");
    EXPECT_EQ(described.at("outputSchema").at("type"), "object");
    const json::object& members = described.at("outputSchema").at("properties").get_object();
    for (const json::value& name : described.at("outputSchema").at("required").get_array())
      EXPECT_TRUE(members.contains(name.get_string())) << tool.name;
    // What only looks destroys nothing.
    EXPECT_FALSE(tool.hints.read_only && tool.hints.destructive) << tool.name;
  }
  EXPECT_EQ(find_tool("box_nothing"), nullptr);
}

TEST(McpTools, ArgumentsAreChecked) {
  const Tool* run = find_tool("box_run");
  auto check = [&](json::object values) {
    return Arguments::check(run->parameters, std::move(values));
  };
  json::object values;
  values["box"] = "i1";
  EXPECT_FALSE(check(values));
  values["command"] = "true";
  values["cwd"] = nullptr;
  auto good = check(values);
  ASSERT_TRUE(good);
  EXPECT_FALSE(good.value().has("cwd"));
  EXPECT_EQ(good.value().number("timeout_seconds"), 120);
  values["command"] = std::string("a\0b", 3);
  EXPECT_FALSE(check(values));
  values["command"] = std::string(200'000, 'x');
  EXPECT_FALSE(check(values));
  values["command"] = "true";
  values["timeout_seconds"] = 1.5;
  EXPECT_FALSE(check(values));
  values["timeout_seconds"] = 86401;
  EXPECT_FALSE(check(values));
  values["timeout_seconds"] = 5;
  json::object env;
  env["A=B"] = "c";
  values["env"] = env;
  EXPECT_FALSE(check(values));
}

TEST(McpUpstream, ErrorsAreForModels) {
  Error told = error_of(404, R"({"code":404,"message":"sandbox i1 not found"})");
  EXPECT_EQ(told.code(), ErrorCode::not_found);
  EXPECT_EQ(told.message(), "sandbox i1 not found");
  EXPECT_EQ(error_of(500, "\x1b[31m").code(), ErrorCode::internal);
  std::string long_text = R"({"message":")" + std::string(9000, 'x') + "\x01\"}";
  EXPECT_LE(error_of(400, long_text).message().size(), 2000);
  EXPECT_FALSE(is_box_id("../x"));
  EXPECT_FALSE(is_box_id(""));
  EXPECT_TRUE(is_box_id("i0123456789abcdefghij"));
}

}  // namespace
}  // namespace hako::mcp
