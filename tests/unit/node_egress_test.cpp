#include <gtest/gtest.h>

#include "node/egress_records.h"

namespace hako::node {
namespace {

boost::json::object record() {
  return {{"time_ms", 1'700'000'000'123},
          {"kind", "tcp"},
          {"name", "example.com"},
          {"address", "192.0.2.1"},
          {"port", 443},
          {"verdict", "ended"},
          {"rule", "request.allow"},
          {"reason", "closed"},
          {"bytes_out", 10},
          {"bytes_in", 1'000'000'000'000},
          {"count", 1},
          {"connection", 7}};
}

boost::json::object message(boost::json::array records) {
  boost::json::object body = {{"machine", "m3-abcdefgh"}, {"box", "i0123"}};
  body["records"] = std::move(records);
  return body;
}

TEST(EgressRecords, AreReadWholeAndWithoutWhatNobodyKnows) {
  auto extended = record();
  extended["surprise"] = "x";
  auto told = parse_egress_records(message({extended, record()}));
  ASSERT_TRUE(told) << told.error().message();
  EXPECT_EQ(told.value().machine, "m3-abcdefgh");
  EXPECT_EQ(told.value().box, "i0123");
  ASSERT_EQ(told.value().records.size(), 2u);
  EXPECT_EQ(told.value().records[0], boost::json::value(record()));
  EXPECT_EQ(told.value().records[1], boost::json::value(record()));
}

TEST(EgressRecords, MayLackAllButTimeAndVerdict) {
  boost::json::object short_one = {{"time_ms", 1}, {"verdict", "dropped"}, {"count", 12}};
  auto told = parse_egress_records(message({short_one}));
  ASSERT_TRUE(told) << told.error().message();
  const auto& read = told.value().records[0].get_object();
  EXPECT_EQ(read.size(), record().size());
  EXPECT_EQ(read.at("count"), 12);
  EXPECT_EQ(read.at("name"), "");
  EXPECT_TRUE(parse_egress_records(message({})));
}

TEST(EgressRecords, EveryMistypedMemberSpoilsTheMessage) {
  const auto whole = record();
  for (const auto& [name, value] : whole) {
    for (boost::json::value bad : {boost::json::value(boost::json::array()),
                                   boost::json::value(nullptr), boost::json::value(-1),
                                   boost::json::value(1e300)}) {
      auto mistyped = whole;
      mistyped[name] = bad;
      auto told = parse_egress_records(message({whole, mistyped}));
      ASSERT_FALSE(told) << name << " " << bad;
      EXPECT_EQ(told.error().code(), ErrorCode::invalid_argument);
      EXPECT_NE(told.error().message().find(std::string(name)), std::string::npos);
    }
  }
  for (const char* name : {"machine", "box", "records"}) {
    auto body = message({whole});
    body.erase(name);
    EXPECT_FALSE(parse_egress_records(body)) << name;
    body[name] = 7;
    EXPECT_FALSE(parse_egress_records(body)) << name;
  }
  EXPECT_FALSE(parse_egress_records(message({"text"})));
}

TEST(EgressRecords, AreBounded) {
  boost::json::array many(kMostEgressRecords, record());
  EXPECT_TRUE(parse_egress_records(message(many)));
  many.push_back(record());
  EXPECT_EQ(parse_egress_records(message(many)).error().code(), ErrorCode::too_large);
  for (const char* name : {"name", "address", "rule", "reason"}) {
    auto long_one = record();
    long_one[name] = std::string(1025, 'a');
    auto told = parse_egress_records(message({long_one}));
    ASSERT_FALSE(told) << name;
    EXPECT_EQ(told.error().code(), ErrorCode::too_large);
  }
  for (auto [name, value] : {std::pair{"port", boost::json::value(65536)},
                             {"kind", boost::json::value("udp")},
                             {"verdict", boost::json::value("perhaps")}}) {
    auto odd = record();
    odd[name] = value;
    EXPECT_FALSE(parse_egress_records(message({odd}))) << name;
  }
}

}  // namespace
}  // namespace hako::node
