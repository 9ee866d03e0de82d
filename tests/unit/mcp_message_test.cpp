#include <gtest/gtest.h>

#include <boost/json/serialize.hpp>

#include "mcp/lines.h"
#include "mcp/message.h"
#include "mcp/text.h"

namespace hako::mcp {
namespace {

using Kind = Message::Kind;

TEST(McpMessage, Kinds) {
  auto request = parse_message(R"({"jsonrpc":"2.0","id":"a","method":"m","params":{"x":1}})");
  ASSERT_TRUE(request.message);
  EXPECT_EQ(request.message->kind, Kind::request);
  EXPECT_EQ(request.message->id, "a");
  EXPECT_EQ(request.message->params.at("x"), 1);
  auto note = parse_message(R"({"jsonrpc":"2.0","method":"n"})");
  ASSERT_TRUE(note.message);
  EXPECT_EQ(note.message->kind, Kind::notification);
  auto response = parse_message(R"({"jsonrpc":"2.0","id":null,"error":{}})");
  ASSERT_TRUE(response.message);
  EXPECT_EQ(response.message->kind, Kind::response);
}

TEST(McpMessage, Malformed) {
  auto code = [](std::string_view text) { return parse_message(text).malformed.code; };
  EXPECT_EQ(code("{"), kParseError);
  EXPECT_EQ(code("\"\xff\""), kParseError);
  EXPECT_EQ(code("[]"), kInvalidRequest);
  EXPECT_EQ(code(R"({"jsonrpc":"2.0","id":1})"), kInvalidRequest);
  EXPECT_EQ(code(R"({"jsonrpc":"2.0","id":true,"method":"m"})"), kInvalidRequest);
  EXPECT_EQ(code(R"({"jsonrpc":"2.0","id":1,"method":"m","params":[]})"), kInvalidParams);
  EXPECT_EQ(code("{\"jsonrpc\":\"2.0\",\"id\":\"" + std::string(300, 'x') + "\",\"method\":\"m\"}"),
            kInvalidRequest);
  EXPECT_EQ(parse_message(R"({"id":7,"method":"m"})").malformed.id, 7);
}

TEST(McpMessage, Versions) {
  EXPECT_EQ(negotiate("2025-06-18"), "2025-06-18");
  EXPECT_EQ(negotiate("2024-11-05"), kVersions[0]);
  EXPECT_TRUE(is_spoken("2025-11-25"));
  EXPECT_FALSE(is_spoken("2025-03-26"));
}

TEST(McpLines, TooLongOnesAreNotKept) {
  LineReader reader(4);
  reader.feed("ab\r\n\n12345");
  auto line = reader.next();
  ASSERT_TRUE(line);
  EXPECT_EQ(line->text, "ab");
  EXPECT_FALSE(reader.next());
  EXPECT_EQ(reader.held(), 0);
  reader.feed("678\ncd\n");
  line = reader.next();
  ASSERT_TRUE(line);
  EXPECT_TRUE(line->too_long);
  line = reader.next();
  ASSERT_TRUE(line);
  EXPECT_EQ(line->text, "cd");
}

TEST(McpShown, BeginningAndEnd) {
  Shown shown(8);
  shown.add("12345678");
  EXPECT_FALSE(shown.is_cut());
  EXPECT_EQ(shown.beginning(), "12345678");
  shown.add("90\n");
  EXPECT_TRUE(shown.is_cut());
  EXPECT_EQ(shown.beginning(), "1234");
  EXPECT_EQ(shown.end(), "890\n");
  EXPECT_EQ(shown.next_offset(), 4);
  EXPECT_EQ(shown.total(), 11);
  EXPECT_EQ(shown.last_line(), "90");
}

TEST(McpShown, CharactersStayWhole) {
  EXPECT_EQ(whole_characters("aä", 2), 1);
  EXPECT_EQ(whole_characters("aäb", 3), 3);
  EXPECT_EQ(whole_size("a\xc3"), 1);
  EXPECT_EQ(whole_size("aä"), 3);
  EXPECT_EQ(ending("äb", 2), "b");
}

}  // namespace
}  // namespace hako::mcp
