// Texts of strangers in records: escaped, bounded, without secrets.
#include <gtest/gtest.h>

#include <boost/json.hpp>

#include "audit/line.h"
#include "audit/text.h"

namespace hako::audit {
namespace {
namespace json = boost::json;

std::string in_quotes(std::string_view text, size_t longest = 2048) {
  std::string out;
  append_quoted(out, text, longest);
  return out;
}

TEST(AuditText, OnlyPrintableAsciiStands) {
  EXPECT_EQ(in_quotes("plain"), "\"plain\"");
  EXPECT_EQ(in_quotes("a\nb\rc\td\"e\\f"), "\"a\\nb\\u000dc\\td\\\"e\\\\f\"");
  EXPECT_EQ(in_quotes("\xe2\x80\xa8"), "\"\\u2028\"");
  EXPECT_EQ(in_quotes("\xe2\x80\xae"), "\"\\u202e\"");  // turns the direction of a terminal's text
  EXPECT_EQ(in_quotes("\x1b[2J\x7f\xc2\x9b"), "\"\\u001b[2J\\u007f\\u009b\"");
  EXPECT_EQ(in_quotes("\xf0\x9f\x93\xa6"), "\"\\ud83d\\udce6\"");
  EXPECT_EQ(in_quotes(std::string("\0", 1)), "\"\\u0000\"");
}

TEST(AuditText, WhatIsNotUtf8IsReplaced) {
  EXPECT_EQ(in_quotes("\xff"), "\"\\ufffd\"");
  EXPECT_EQ(in_quotes("\xc0\xaf"), "\"\\ufffd\\ufffd\"");             // longer than it need be
  EXPECT_EQ(in_quotes("\xed\xa0\x80"), "\"\\ufffd\\ufffd\\ufffd\"");  // a surrogate
  EXPECT_EQ(in_quotes("\xe2\x80"), "\"\\ufffd\\ufffd\"");
  EXPECT_EQ(in_quotes("\xf4\x90\x80\x80"), "\"\\ufffd\\ufffd\\ufffd\\ufffd\"");
}

TEST(AuditText, EveryCharacterComesBack) {
  for (uint32_t c = 1; c < 0x110000; c += c < 0x3000 ? 1 : 97) {
    if (c >= 0xd800 && c < 0xe000) continue;
    std::string text;
    if (c < 0x80) {
      text = char(c);
    } else if (c < 0x800) {
      text = {char(0xc0 | (c >> 6)), char(0x80 | (c & 63))};
    } else if (c < 0x10000) {
      text = {char(0xe0 | (c >> 12)), char(0x80 | ((c >> 6) & 63)), char(0x80 | (c & 63))};
    } else {
      text = {char(0xf0 | (c >> 18)), char(0x80 | ((c >> 12) & 63)), char(0x80 | ((c >> 6) & 63)),
              char(0x80 | (c & 63))};
    }
    ASSERT_EQ(std::string(json::parse(in_quotes(text)).as_string()), text) << c;
  }
}

TEST(AuditText, WhatIsTooLongIsCutAndSaysSo) {
  EXPECT_EQ(in_quotes("abcdef", 6), "\"abcdef\"");
  EXPECT_EQ(in_quotes("abcdefg", 6), "\"abcdef...[7 bytes]\"");
  EXPECT_EQ(in_quotes("abcde\xc3\xa9", 6), "\"abcde...[7 bytes]\"");  // not in the middle of one
  Record record;
  record.action = "command.start";
  record.details = {{"command", std::string(1 << 20, 'x')}};
  std::string body = body_of(record);
  EXPECT_LT(body.size(), 3000u);
  EXPECT_NE(body.find("...[1048576 bytes]"), std::string::npos);
}

TEST(AuditText, NoRecordIsTooLong) {
  Record record;
  std::string worst(1 << 16, '\x01');
  for (auto* text :
       {&record.tenant, &record.actor, &record.user, &record.agent, &record.action, &record.sandbox,
        &record.outcome, &record.reason, &record.label, &record.source, &record.request}) {
    *text = worst;
  }
  for (int i = 0; i < 100; ++i) record.details.emplace_back(worst, worst);
  std::string line = make_line(Link{int64_t(1) << 50, no_hash()}, body_of(record));
  EXPECT_LT(line.size(), kLongestLine);
  EXPECT_TRUE(parse_link(line));
}

TEST(AuditText, AGuestsTextForgesNoRecord) {
  std::string forged =
      "x\"}\n{\"seq\":1,\"prev\":\"" + no_hash() +
      "\",\"time\":\"2026-01-01T00:00:00.000Z\",\"audit\":\"head\"}\xe2\x80\xa8\xff";
  Record record;
  record.action = forged;
  record.details = {{forged, forged}, {"audit", "head"}};
  std::string line = make_line(Link{7, no_hash()}, body_of(record));
  EXPECT_EQ(line.find('\n'), std::string::npos);
  EXPECT_TRUE(parse_link(line));
  EXPECT_FALSE(is_head(line));
  EXPECT_FALSE(retired_before(line));
  auto object = json::parse(line).as_object();
  EXPECT_FALSE(object.contains("audit"));
  EXPECT_EQ(object["seq"], 7);
  EXPECT_EQ(std::string(object["action"].as_string()).substr(0, 4), "x\"}\n");
}

std::string masked(std::string_view text) {
  return mask_secrets(text, 8192);
}

TEST(AuditMask, OursWhereverTheyStand) {
  std::string key = "e2b_" + std::string(40, 'a');
  EXPECT_EQ(masked("use " + key + " now"), "use *** now");
  EXPECT_EQ(masked("x" + key), "x***");
  EXPECT_EQ(masked("http://h/?k=" + key + "&b=1"), "http://h/?k=***&b=1");
  EXPECT_EQ(masked(std::string("e2b_") + std::string(600, '0')), "***");  // a token
  EXPECT_EQ(masked("e2b_template"), "e2b_template");
  // Cut in the middle by whoever bounds texts before us.
  EXPECT_EQ(masked(key.substr(0, 20)), "***");
}

TEST(AuditMask, HeadersOptionsAndAssignments) {
  EXPECT_EQ(masked("curl -H 'Authorization: Bearer abc def' http://h"),
            "curl -H 'Authorization: ***' http://h");
  EXPECT_EQ(masked("X-API-Key: 12345 x"), "X-API-Key: *** x");
  EXPECT_EQ(masked("psql password=hunter2 host=db"), "psql password=*** host=db");
  EXPECT_EQ(masked("PGPASSWORD='a b' psql"), "PGPASSWORD='***' psql");
  EXPECT_EQ(masked("login --password hunter2 --user me"), "login --password *** --user me");
  EXPECT_EQ(masked("login --token=t0ken"), "login --token=***");
  EXPECT_EQ(masked("{\"api_key\": \"v\", \"n\": 1}"), "{\"api_key\": \"***\", \"n\": 1}");
  EXPECT_EQ(masked("git clone https://me:pw@host/x"), "git clone https://me:***@host/x");
  EXPECT_EQ(masked("AWS_SECRET_ACCESS_KEY=abc env"), "AWS_SECRET_ACCESS_KEY=*** env");
  EXPECT_EQ(masked("Bearer abcdefgh12345"), "Bearer ***");
  EXPECT_EQ(masked("ghp_0123456789abcdefABCD"), "***");
}

TEST(AuditMask, OtherWordsStay) {
  for (std::string text : {"python3 main.py --verbose", "cat token file", "ls -la /home/user",
                           "https://host/path?x=1", "echo secret", "sk-", "a:b@c", "", "e2b_12"}) {
    EXPECT_EQ(masked(text), text);
  }
}

TEST(AuditMask, NothingShowsBecauseTheEndWasCutOff) {
  Record record;
  record.action = "command.start";
  record.details = {
      {"command", std::string(Record::kLongestText - 20, 'x') + " e2b_" + std::string(40, 'b')}};
  EXPECT_EQ(body_of(record).find("e2b_"), std::string::npos);
}

}  // namespace
}  // namespace hako::audit
