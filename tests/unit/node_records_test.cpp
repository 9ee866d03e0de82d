#include <gtest/gtest.h>

#include "node/box_records.h"

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
  auto told = parse_box_records(RecordKind::egress, message({extended, record()}));
  ASSERT_TRUE(told) << told.error().message();
  EXPECT_EQ(told.value().machine, "m3-abcdefgh");
  EXPECT_EQ(told.value().box, "i0123");
  ASSERT_EQ(told.value().records.size(), 2u);
  EXPECT_EQ(told.value().records[0], boost::json::value(record()));
  EXPECT_EQ(told.value().records[1], boost::json::value(record()));
}

TEST(EgressRecords, MayLackAllButTimeAndVerdict) {
  boost::json::object short_one = {{"time_ms", 1}, {"verdict", "dropped"}, {"count", 12}};
  auto told = parse_box_records(RecordKind::egress, message({short_one}));
  ASSERT_TRUE(told) << told.error().message();
  const auto& read = told.value().records[0].get_object();
  EXPECT_EQ(read.size(), record().size());
  EXPECT_EQ(read.at("count"), 12);
  EXPECT_EQ(read.at("name"), "");
  EXPECT_TRUE(parse_box_records(RecordKind::egress, message({})));
}

TEST(EgressRecords, EveryMistypedMemberSpoilsTheMessage) {
  const auto whole = record();
  for (const auto& [name, value] : whole) {
    for (boost::json::value bad : {boost::json::value(boost::json::array()),
                                   boost::json::value(nullptr), boost::json::value(-1),
                                   boost::json::value(1e300)}) {
      auto mistyped = whole;
      mistyped[name] = bad;
      auto told = parse_box_records(RecordKind::egress, message({whole, mistyped}));
      ASSERT_FALSE(told) << name << " " << bad;
      EXPECT_EQ(told.error().code(), ErrorCode::invalid_argument);
      EXPECT_NE(told.error().message().find(std::string(name)), std::string::npos);
    }
  }
  for (const char* name : {"machine", "box", "records"}) {
    auto body = message({whole});
    body.erase(name);
    EXPECT_FALSE(parse_box_records(RecordKind::egress, body)) << name;
    body[name] = 7;
    EXPECT_FALSE(parse_box_records(RecordKind::egress, body)) << name;
  }
  EXPECT_FALSE(parse_box_records(RecordKind::egress, message({"text"})));
}

TEST(EgressRecords, AreBounded) {
  boost::json::array many(kMostBoxRecords, record());
  EXPECT_TRUE(parse_box_records(RecordKind::egress, message(many)));
  many.push_back(record());
  EXPECT_EQ(parse_box_records(RecordKind::egress, message(many)).error().code(), ErrorCode::too_large);
  for (const char* name : {"name", "address", "rule", "reason"}) {
    auto long_one = record();
    long_one[name] = std::string(1025, 'a');
    auto told = parse_box_records(RecordKind::egress, message({long_one}));
    ASSERT_FALSE(told) << name;
    EXPECT_EQ(told.error().code(), ErrorCode::too_large);
  }
  for (auto [name, value] : {std::pair{"port", boost::json::value(65536)},
                             {"kind", boost::json::value("udp")},
                             {"verdict", boost::json::value("perhaps")}}) {
    auto odd = record();
    odd[name] = value;
    EXPECT_FALSE(parse_box_records(RecordKind::egress, message({odd}))) << name;
  }
}

boost::json::object access_record() {
  return {{"time_ms", 1'700'000'000'123},
          {"kind", "command"},
          {"action", "start"},
          {"verdict", "allowed"},
          {"key", "k1"},
          {"user", "root"},
          {"what", "/bin/bash -l"},
          {"detail", "/home/user"},
          {"reason", ""},
          {"status", 200},
          {"bytes", 12},
          {"count", 1}};
}

TEST(AccessRecords, AreReadWholeAndWithoutWhatNobodyKnows) {
  auto extended = access_record();
  extended["surprise"] = "x";
  auto told = parse_box_records(RecordKind::access, message({extended}));
  ASSERT_TRUE(told) << told.error().message();
  EXPECT_EQ(told.value().records[0], boost::json::value(access_record()));
}

TEST(AccessRecords, AreNotTakenForOthers) {
  auto egress = record();
  EXPECT_FALSE(parse_box_records(RecordKind::access, message({egress})));
  EXPECT_FALSE(parse_box_records(RecordKind::egress, message({access_record()})));
}

TEST(AccessRecords, AreBounded) {
  for (auto [name, longest] :
       {std::pair{"action", 32}, {"key", 64}, {"user", 256}, {"what", 2048}, {"detail", 2048},
        {"reason", 512}}) {
    auto one = access_record();
    one[name] = std::string(size_t(longest), 'a');
    EXPECT_TRUE(parse_box_records(RecordKind::access, message({one}))) << name;
    one[name] = std::string(size_t(longest) + 1, 'a');
    auto told = parse_box_records(RecordKind::access, message({one}));
    ASSERT_FALSE(told) << name;
    EXPECT_EQ(told.error().code(), ErrorCode::too_large);
  }
  for (auto [name, value] : {std::pair{"status", boost::json::value(600)},
                             {"kind", boost::json::value("tcp")},
                             {"verdict", boost::json::value("ended")},
                             {"count", boost::json::value(-1)}}) {
    auto odd = access_record();
    odd[name] = value;
    EXPECT_FALSE(parse_box_records(RecordKind::access, message({odd}))) << name;
  }
  // However short each is: all of them must fit into one message to the api.
  auto large = access_record();
  large["what"] = large["detail"] = std::string(2000, 'a');
  EXPECT_TRUE(parse_box_records(RecordKind::access, message(boost::json::array(200, large))));
  auto told = parse_box_records(RecordKind::access, message(boost::json::array(300, large)));
  ASSERT_FALSE(told);
  EXPECT_EQ(told.error().code(), ErrorCode::too_large);
}

}  // namespace
}  // namespace hako::node
