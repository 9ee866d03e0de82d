// The parts of the way out of a box that need no network.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gate/agreement.h"
#include "gate/egress_records.h"
#include "gate/own_addresses.h"
#include "gate/traffic.h"
#include "support/run_value.h"

namespace hako::gate {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;
using Kind = Opening::Kind;

Expected web() {
  Expected expected;
  expected.name = "web.example";
  expected.port = 8080;
  return expected;
}

/// An address on which all but evil.example may be named.
Expected address() {
  Expected expected;
  expected.port = 8080;
  expected.may_name = [](const std::string& said) { return said != "evil.example"; };
  return expected;
}

http::RequestHead request(std::string host, std::string target = "/") {
  http::RequestHead head;
  head.target = std::move(target);
  head.fields.set(http::Field::host, host);
  return head;
}

TEST(AgreementTest, WhatBeginsNeitherTlsNorHttpNamesNobody) {
  for (std::string bytes : {"SSH-2.0-x\r\n", "\1\2\3", "*1\r\n$4\r\nPING\r\n", "EHLO x\r\n"})
    EXPECT_EQ(judge_opening(bytes, web()).kind, Kind::other) << bytes;
  for (std::string bytes : {"", "G", "GET", "GET ", "\r\n", "\x16", "\x16\x03"})
    EXPECT_EQ(judge_opening(bytes, web()).kind, Kind::incomplete) << bytes;
  EXPECT_EQ(judge_opening("GET / HTTP/1.1\r\n", web()).kind, Kind::http);
  auto preface = judge_opening("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", web());
  EXPECT_EQ(preface.kind, Kind::refused);
  EXPECT_EQ(preface.rule, kHostRule);
}

TEST(AgreementTest, OnlyTlsPassesWhereNothingElseMay) {
  for (std::string bytes : {"GET / HTTP/1.1\r\n", "SSH-2.0-x\r\n"}) {
    auto refused = judge_tls(bytes, web());
    EXPECT_EQ(refused.kind, Kind::refused) << bytes;
    EXPECT_EQ(refused.rule, kSniRule);
  }
  EXPECT_EQ(judge_tls("\x16\x03\x01", web()).kind, Kind::incomplete);
}

TEST(AgreementTest, ARequestIsForItsConnectionsNameAndPort) {
  for (std::string host : {"web.example", "WEB.Example", "web.example.", "web.example:8080"})
    EXPECT_FALSE(request_refusal(request(host), web())) << host;
  for (std::string host :
       {"", "evil.example", "web.example:80", "web.example:", "web.example:8080x", ":8080",
        "web.example:8080:8080", "web.example:+8080", "sub.web.example", "web.example..",
        "web.example/", "evil@web.example", " web.example evil", "[::1]"})
    EXPECT_TRUE(request_refusal(request(host), web())) << host;
  for (std::string target : {"*", "/x", "//evil.example/", "http://web.example/x",
                             "http://WEB.example:8080", "https://web.example?x"})
    EXPECT_FALSE(request_refusal(request("web.example", target), web())) << target;
  for (std::string target : {"http://evil.example/", "http://web.example@evil.example/",
                             "http:///x", "web.example", "evil.example:8080", "x/y",
                             "http://web.example\\@evil.example/", ""})
    EXPECT_TRUE(request_refusal(request("web.example", target), web())) << target;
}

TEST(AgreementTest, WithoutOneHostOrWithConnectNothingPasses) {
  http::RequestHead none;
  none.target = "/";
  EXPECT_THAT(request_refusal(none, web()).value(), HasSubstr("without Host"));
  auto two = request("web.example");
  two.fields.insert(http::Field::host, "web.example");
  EXPECT_THAT(request_refusal(two, web()).value(), HasSubstr("several"));
  auto connect = request("web.example");
  connect.method = http::Verb::connect;
  EXPECT_THAT(request_refusal(connect, web()).value(), HasSubstr("CONNECT"));
}

TEST(AgreementTest, OnAnAddressAnyNameMayBeNamedThatIsNotDenied) {
  EXPECT_FALSE(request_refusal(request("other.example"), address()));
  EXPECT_TRUE(request_refusal(request("EVIL.example"), address()));
  EXPECT_TRUE(request_refusal(request("other.example", "http://evil.example/"), address()));
}

TEST(AgreementTest, AReasonQuotesStrangersSafely) {
  auto reason = request_refusal(request(std::string(5000, '\xff')), web());
  ASSERT_TRUE(reason);
  EXPECT_LT(reason->size(), 200u);
  EXPECT_EQ(reason->find('\xff'), reason->npos);
}

TEST(OwnAddressesTest, ItselfIsOneOfThem) {
  auto own_addresses = OwnAddresses::open();
  ASSERT_TRUE(own_addresses);
  for (const char* own : {"127.0.0.1", "127.9.9.9", "::1", "0.0.0.0", "::", "::ffff:127.0.0.1"})
    EXPECT_TRUE(own_addresses.value().have(asio::ip::make_address(own))) << own;
}

/// Keeps what is sent; refuses while closed.
struct Sink {
  std::vector<boost::json::object> records;
  size_t largest = 0;  ///< message
  bool closed = false;

  SendRecords send() {
    return [this](const std::string&, const std::string&, boost::json::array sent) {
      if (closed) return false;
      largest = std::max(largest, sent.size());
      for (auto& record : sent) records.push_back(record.as_object());
      return true;
    };
  }
};

EgressRecord denied(std::string name) {
  EgressRecord record;
  record.kind = "tcp";
  record.name = std::move(name);
  record.verdict = "denied";
  return record;
}

void run_for(EgressRecords& records, Duration time) {
  asio::io_context loop;
  test::run_value(loop, [](EgressRecords& records, Duration time) -> Task<bool> {
    using namespace asio::experimental::awaitable_operators;
    auto run = records.run();
    auto wait = sleep_for(time);
    co_await (std::move(run) || std::move(wait));
    co_return true;
  }(records, time));
}

TEST(EgressRecordsTest, EqualOnesBecomeOne) {
  Sink sink;
  EgressRecords records(sink.send());
  for (int i = 0; i < 1000; ++i) records.add("m1", "box1", denied(i % 2 ? "a" : "b"));
  EgressRecord allowed = denied("a");
  allowed.verdict = "allowed";
  for (allowed.connection = 1; allowed.connection <= 3; ++allowed.connection)
    records.add("m1", "box1", allowed);
  run_for(records, 300ms);
  ASSERT_EQ(sink.records.size(), 5u);
  EXPECT_EQ(sink.records[0].at("count"), 500);
  EXPECT_EQ(sink.records[1].at("count"), 500);
  EXPECT_EQ(sink.records[4].at("connection"), 3u);
}

TEST(EgressRecordsTest, WhatIsTooMuchIsCounted) {
  Sink sink;
  EgressRecords records(sink.send());
  for (int i = 0; i < 1000; ++i) records.add("m1", "box1", denied(std::to_string(i)));
  records.add("m1", "", denied("of no box"));
  run_for(records, 300ms);
  ASSERT_EQ(sink.records.size(), EgressRecord::kMostWaiting + 1);
  EXPECT_EQ(sink.records.back().at("verdict"), "dropped");
  EXPECT_EQ(sink.records.back().at("count"), 1000 - static_cast<int>(EgressRecord::kMostWaiting));
}

TEST(EgressRecordsTest, RefusalsPushOutNoRecordOfWhatHasPassed) {
  Sink sink;
  EgressRecords records(sink.send());
  for (int i = 0; i < 1000; ++i) records.add("m1", "box1", denied(std::to_string(i)));
  EgressRecord allowed = denied("a");
  allowed.verdict = "allowed";
  for (allowed.connection = 1; allowed.connection <= 2000; ++allowed.connection)
    records.add("m1", "box1", allowed);
  records.add("m1", "box1", denied("0"));
  run_for(records, 300ms);
  ASSERT_EQ(sink.records.size(),
            EgressRecord::kMostWaiting + EgressRecord::kMostTiedWaiting + 1);
  EXPECT_EQ(sink.records[0].at("count"), 2);
  EXPECT_EQ(sink.records[EgressRecord::kMostWaiting].at("connection"), 1u);
  EXPECT_EQ(sink.records.back().at("verdict"), "dropped");
  EXPECT_EQ(sink.records.back().at("count"),
            3000 - static_cast<int>(EgressRecord::kMostWaiting + EgressRecord::kMostTiedWaiting));
  EXPECT_LE(sink.largest, EgressRecords::kMostInMessage);
}

TEST(EgressRecordsTest, WhatCannotBeSentWaits) {
  Sink sink;
  EgressRecords records(sink.send());
  sink.closed = true;
  records.add("m1", "box1", denied("a"));
  run_for(records, 500ms);
  EXPECT_TRUE(sink.records.empty());
  sink.closed = false;
  run_for(records, 300ms);
  EXPECT_EQ(sink.records.size(), 1u);
}

TEST(TrafficTest, WaitsForItsRateAndEndsAtItsLimit) {
  BoxTraffic traffic;
  traffic.count(1 << 30);
  EXPECT_EQ(traffic.wait(), Duration::zero());
  EXPECT_FALSE(traffic.spent());
  policy::EgressLimits limits;
  limits.bytes_per_second = 1 << 20;
  limits.bytes_total = (1 << 30) + 1;
  traffic.set_limits(limits);
  EXPECT_LE(traffic.piece(), size_t{64 << 10});
  Meter meter(traffic);
  meter.count(Way::out, 512 << 10);
  EXPECT_GT(traffic.wait(), 200ms);
  EXPECT_TRUE(meter.spent());
  EXPECT_EQ(meter.out(), 512 << 10);
  EXPECT_EQ(meter.in(), 0);
}

Task<void> move_pieces(BoxTraffic& traffic) {
  Meter meter(traffic);
  for (;;) {
    co_await meter.pace();
    meter.count(Way::out, traffic.piece());
  }
}

TEST(TrafficTest, NoPieceIsMoreThanWhatIsLeft) {
  BoxTraffic traffic;
  policy::EgressLimits limits;
  limits.bytes_total = 5000;
  traffic.set_limits(limits);
  EXPECT_EQ(traffic.piece(), 5000u);
  traffic.count(4990);
  EXPECT_EQ(traffic.piece(), 10u);
  EXPECT_FALSE(traffic.spent());
  traffic.count(10);
  EXPECT_EQ(traffic.piece(), 0u);
  EXPECT_TRUE(traffic.spent());
  limits.bytes_per_second = 1;
  limits.bytes_total = 4000;
  traffic.set_limits(limits);
  EXPECT_EQ(traffic.piece(), 0u);
}

TEST(TrafficTest, HoweverManyMoveBytesTheyKeepToTheRateTogether) {
  constexpr int64_t kRate = 256 << 10;
  for (int flows : {1, 16, 256}) {
    asio::io_context loop;
    BoxTraffic traffic;
    policy::EgressLimits limits;
    limits.bytes_per_second = kRate;
    traffic.set_limits(limits);
    for (int i = 0; i < flows; ++i)
      asio::co_spawn(loop, move_pieces(traffic), asio::detached);
    auto start = BoxTraffic::Clock::now();
    loop.run_for(2500ms);
    std::chrono::duration<double> took = BoxTraffic::Clock::now() - start;
    double may = kRate * (0.25 + took.count()) + static_cast<double>(traffic.piece());
    EXPECT_LE(static_cast<double>(traffic.moved()), may) << flows;
    EXPECT_GE(static_cast<double>(traffic.moved()), kRate * 2.0) << flows;
  }
}

}  // namespace
}  // namespace hako::gate
