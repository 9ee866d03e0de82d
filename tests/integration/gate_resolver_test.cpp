// The gate's resolver against a DNS server that behaves, and ones that do not.
#include <gtest/gtest.h>
#include <sched.h>
#include <unistd.h>

#include <cstdlib>
#include <mutex>
#include <set>

#include "base/async/task_group.h"
#include "gate/resolver.h"
#include "jail/jail.h"
#include "support/dns_server.h"
#include "support/in_child.h"
#include "support/run_task.h"
#include "support/run_value.h"

namespace hako::gate {
namespace {

using namespace std::chrono_literals;
using test::a_record;
using test::aaaa_record;
using test::cname_record;
using test::dns_reply;
using test::DnsAsker;
using test::DnsMessage;
using test::TestDnsServer;
using wire::dns::Query;
using Replies = std::vector<DnsMessage>;

constexpr uint16_t kA = wire::dns::kTypeA;

DnsServer at(uint16_t port) {
  return {asio::ip::address_v4::loopback(), port};
}

Addresses addresses(std::initializer_list<const char*> texts) {
  Addresses all;
  for (const char* text : texts) all.push_back(asio::ip::make_address(text));
  return all;
}

/// 192.0.2.1 for every name; no IPv6.
Replies good(const Query& query, const DnsAsker&) {
  if (query.type != kA) return {dns_reply(query, {})};
  return {dns_reply(query, {a_record(query.name, "192.0.2.1")})};
}

Replies silent(const Query&, const DnsAsker&) {
  return {};
}

TestDnsServer::Answer always(int rcode) {
  return [rcode](const Query& query, const DnsAsker&) -> Replies {
    return {dns_reply(query, {}, rcode)};
  };
}

/// What becomes of `name` when `answer` is all the DNS there is.
Result<Addresses> resolve(TestDnsServer::Answer answer, std::string name = "a.example") {
  TestDnsServer server(std::move(answer));
  asio::io_context loop;
  Resolver resolver(loop.get_executor(), {at(server.port())});
  return test::run_value(loop, resolver.resolve(std::move(name)));
}

ErrorCode code_of(const Result<Addresses>& result) {
  EXPECT_FALSE(result);
  return result ? ErrorCode::internal : result.error().code();
}

TEST(Resolver, FindsAndRemembers) {
  TestDnsServer server(good);
  asio::io_context loop;
  Resolver resolver(loop.get_executor(), {at(server.port())});
  for (int i = 0; i < 3; ++i) {
    auto found = test::run_value(loop, resolver.resolve("a.example"));
    ASSERT_TRUE(found) << found.error().message();
    EXPECT_EQ(found.value(), addresses({"192.0.2.1"}));
  }
  EXPECT_LE(server.asked(), 2);  // A, and AAAA if there is IPv6 here
  int before = server.asked();
  ASSERT_TRUE(test::run_value(loop, resolver.resolve("b.example")));
  EXPECT_GT(server.asked(), before);
}

TEST(Resolver, AsksOnceForAllWhoWait) {
  TestDnsServer server(good);
  asio::io_context loop;
  Resolver resolver(loop.get_executor(), {at(server.port())});
  TaskGroup tasks(loop.get_executor());
  int found = 0;
  auto one = [](Resolver& of, int& count) -> Task<void> {
    auto result = co_await of.resolve("a.example");
    if (result) ++count;
  };
  for (int i = 0; i < 50; ++i) tasks.spawn("one", one(resolver, found));
  loop.run_for(5s);
  EXPECT_EQ(found, 50);
  EXPECT_LE(server.asked(), 2);
}

TEST(Resolver, FollowsTheServersCnames) {
  auto result = resolve([](const Query& query, const DnsAsker&) -> Replies {
    if (query.type != kA) return {dns_reply(query, {cname_record(query.name, "b.example")})};
    return {dns_reply(
        query, {cname_record(query.name, "b.example"), cname_record("b.example", "c.example.net"),
                a_record("c.example.net", "192.0.2.7"), a_record("c.example.net", "192.0.2.8")})};
  });
  ASSERT_TRUE(result) << result.error().message();
  EXPECT_EQ(result.value(), addresses({"192.0.2.7", "192.0.2.8"}));
}

TEST(Resolver, TakesNoMoreAddressesThanItNeeds) {
  auto result = resolve([](const Query& query, const DnsAsker&) -> Replies {
    std::vector<test::DnsRecord> records;
    for (int i = 0; i < 40 && query.type == kA; ++i)
      records.push_back(a_record(query.name, "192.0.2." + std::to_string(i)));
    return {dns_reply(query, records)};
  });
  ASSERT_TRUE(result) << result.error().message();
  EXPECT_EQ(result.value().size(), 16u);
}

TEST(Resolver, WhatThereIsNot) {
  EXPECT_EQ(code_of(resolve(always(3))), ErrorCode::not_found);
  EXPECT_EQ(code_of(resolve(always(0))), ErrorCode::not_found);
  // An alias to nowhere.
  EXPECT_EQ(code_of(resolve([](const Query& query, const DnsAsker&) -> Replies {
              return {dns_reply(query, {cname_record(query.name, "b.example")})};
            })),
            ErrorCode::not_found);
  EXPECT_EQ(code_of(resolve(good, std::string(64, 'a') + ".example")), ErrorCode::not_found);
  EXPECT_EQ(code_of(resolve(good, "a..example")), ErrorCode::not_found);
}

TEST(Resolver, ServersThatFail) {
  for (int rcode : {1, 2, 4, 5, 9})
    EXPECT_EQ(code_of(resolve(always(rcode))), ErrorCode::unavailable) << rcode;
  uint16_t gone = TestDnsServer(good).port();
  asio::io_context loop;
  Resolver nobody(loop.get_executor(), {at(gone)});
  auto result = test::run_value(loop, nobody.resolve("a.example"));
  EXPECT_EQ(code_of(result), ErrorCode::unavailable) << result.error().message();
  Resolver none(loop.get_executor(), {});
  EXPECT_EQ(code_of(test::run_value(loop, none.resolve("a.example"))), ErrorCode::unavailable);
}

TEST(Resolver, FailuresAreRememberedForAWhile) {
  TestDnsServer server(always(3));
  asio::io_context loop;
  Resolver resolver(loop.get_executor(), {at(server.port())});
  for (int i = 0; i < 3; ++i)
    EXPECT_EQ(code_of(test::run_value(loop, resolver.resolve("a.example"))), ErrorCode::not_found);
  EXPECT_LE(server.asked(), 2);
}

TEST(Resolver, TheNextServerIsAskedWhereOneFails) {
  TestDnsServer failing(always(2));
  TestDnsServer working(good);
  uint16_t gone = TestDnsServer(good).port();
  asio::io_context loop;
  for (uint16_t first : {failing.port(), gone}) {
    Resolver resolver(loop.get_executor(), {at(first), at(working.port())});
    auto result = test::run_value(loop, resolver.resolve("a.example"));
    ASSERT_TRUE(result) << result.error().message();
    EXPECT_EQ(result.value(), addresses({"192.0.2.1"}));
  }
}

TEST(Resolver, AnAnswerThatWasCutIsFetchedOverTcp) {
  std::atomic<int> over_tcp = 0;
  auto result = resolve([&](const Query& query, const DnsAsker& asker) -> Replies {
    auto whole = good(query, asker);
    over_tcp += asker.tcp;
    if (!asker.tcp) whole[0][2] |= 0x02;
    return whole;
  });
  ASSERT_TRUE(result) << result.error().message();
  EXPECT_EQ(result.value(), addresses({"192.0.2.1"}));
  EXPECT_GE(over_tcp, 1);
}

TEST(Resolver, ServersThatDoNotKnowEdns) {
  auto result = resolve([](const Query& query, const DnsAsker& asker) -> Replies {
    if (query.has_edns) return {dns_reply(query, {}, 1)};
    return good(query, asker);
  });
  EXPECT_TRUE(result);
}

TEST(Resolver, AnswersThatBelongToNothingArePassedOver) {
  auto result = resolve([](const Query& query, const DnsAsker&) -> Replies {
    Query other = query;
    other.id ^= 1;
    auto wrong_id = dns_reply(other, {a_record(query.name, "192.0.2.66")});
    other = query;
    other.question[1] ^= 1;  // another name
    auto wrong_name = dns_reply(other, {a_record(query.name, "192.0.2.66")});
    auto right = query.type == kA ? dns_reply(query, {a_record(query.name, "192.0.2.1")})
                                  : dns_reply(query, {});
    auto cut = right;
    cut.resize(7);
    return {{}, {0}, DnsMessage(500, 0xff), cut, wrong_id, wrong_name, right};
  });
  ASSERT_TRUE(result) << result.error().message();
  EXPECT_EQ(result.value(), addresses({"192.0.2.1"}));
}

TEST(Resolver, AnswersThatMakeNoSense) {
  for (size_t shorter : {1, 4, 9, 20}) {
    auto result = resolve([&](const Query& query, const DnsAsker& asker) -> Replies {
      auto reply = good(query, asker);
      if (query.type == kA) reply[0].resize(reply[0].size() - shorter);
      return reply;
    });
    EXPECT_EQ(code_of(result), ErrorCode::unavailable) << shorter;
  }
}

TEST(Resolver, ServersThatAreSilentAboutIPv6) {
  auto start = std::chrono::steady_clock::now();
  auto result = resolve([](const Query& query, const DnsAsker& asker) {
    return query.type == kA ? good(query, asker) : silent(query, asker);
  });
  EXPECT_TRUE(result);
  EXPECT_LT(std::chrono::steady_clock::now() - start, 3s);
}

TEST(Resolver, IdsAndPortsCannotBeGuessed) {
  std::mutex mutex;
  std::set<uint16_t> ids, ports;
  TestDnsServer server([&](const Query& query, const DnsAsker& asker) {
    std::lock_guard lock(mutex);
    ids.insert(query.id);
    ports.insert(asker.port);
    return good(query, asker);
  });
  asio::io_context loop;
  Resolver resolver(loop.get_executor(), {at(server.port())});
  for (int i = 0; i < 40; ++i) {
    std::string name = "a" + std::to_string(i) + ".example";
    ASSERT_TRUE(test::run_value(loop, resolver.resolve(name)));
  }
  std::lock_guard lock(mutex);
  EXPECT_GE(ids.size(), 38u);
  EXPECT_GE(ports.size(), 30u);
}

TEST(Resolver, SilenceEndsAndHoldsNobodyElseUp) {
  TestDnsServer server([](const Query& query, const DnsAsker& asker) {
    return query.name == "silent.example" ? silent(query, asker) : good(query, asker);
  });
  asio::io_context loop;
  Resolver resolver(loop.get_executor(), {at(server.port())});
  TaskGroup tasks(loop.get_executor());
  std::optional<ErrorCode> silence;
  auto start = std::chrono::steady_clock::now();
  auto wait = [](Resolver& of, std::optional<ErrorCode>& code) -> Task<void> {
    auto result = co_await of.resolve("silent.example");
    code = code_of(result);
  };
  tasks.spawn("wait", wait(resolver, silence));
  ASSERT_TRUE(test::run_value(loop, resolver.resolve("a.example")));
  EXPECT_FALSE(silence);
  loop.restart();
  loop.run_for(10s);
  EXPECT_EQ(silence, ErrorCode::timed_out);
  EXPECT_LT(std::chrono::steady_clock::now() - start, 8s);
}

TEST(Resolver, ManyBoxesWithSilentNamesLeaveRoomForOthers) {
  TestDnsServer server([](const Query& query, const DnsAsker& asker) {
    return query.name == "a.example" ? good(query, asker) : silent(query, asker);
  });
  asio::io_context loop;
  Resolver resolver(loop.get_executor(), {at(server.port())});
  TaskGroup tasks(loop.get_executor());
  auto wait = [](Resolver& of, std::string name) -> Task<void> {
    (void)co_await of.resolve(std::move(name));
  };
  for (int i = 0; i < 32 * 8; ++i)
    tasks.spawn("wait", wait(resolver, "silent" + std::to_string(i) + ".example"));
  loop.run_for(200ms);
  auto found = test::run_value(loop, resolver.resolve("a.example"));
  EXPECT_TRUE(found) << found.error().message();
  test::run_on(loop, tasks.stop());
}

TEST(Resolver, ManyAtOnceAndNoMore) {
  constexpr size_t kMost = 64;
  TestDnsServer server(silent);
  asio::io_context loop;
  Resolver resolver(loop.get_executor(), {at(server.port())}, kMost);
  TaskGroup tasks(loop.get_executor());
  int ended = 0;
  auto wait = [](Resolver& of, std::string name, int& count) -> Task<void> {
    (void)co_await of.resolve(std::move(name));
    ++count;
  };
  for (size_t i = 0; i < kMost; ++i)
    tasks.spawn("wait", wait(resolver, "a" + std::to_string(i) + ".example", ended));
  loop.run_for(200ms);
  EXPECT_EQ(ended, 0);
  auto more = test::run_value(loop, resolver.resolve("more.example"));
  EXPECT_EQ(code_of(more), ErrorCode::unavailable);
  // Cancelled, they make room at once.
  test::run_on(loop, tasks.stop());
  EXPECT_EQ(ended, 0);
  TaskGroup again(loop.get_executor());
  again.spawn("wait", wait(resolver, "more.example", ended));
  loop.restart();
  loop.run_for(200ms);
  EXPECT_EQ(ended, 0);
  test::run_on(loop, again.stop());
}

TEST(Resolver, WhoIsCancelledLeavesTheQuestionToOthers) {
  std::atomic<bool> answering = false;
  TestDnsServer server([&](const Query& query, const DnsAsker& asker) {
    return answering ? good(query, asker) : silent(query, asker);
  });
  asio::io_context loop;
  Resolver resolver(loop.get_executor(), {at(server.port())});
  TaskGroup first(loop.get_executor());
  TaskGroup second(loop.get_executor());
  bool found = false;
  auto wait = [](Resolver& of, bool& done) -> Task<void> {
    auto result = co_await of.resolve("a.example");
    done = result.has_value();
  };
  bool never = false;
  first.spawn("first", wait(resolver, never));
  second.spawn("second", wait(resolver, found));
  loop.run_for(100ms);
  answering = true;
  test::run_on(loop, first.stop());
  loop.restart();
  loop.run_for(5s);
  EXPECT_TRUE(found);
  EXPECT_FALSE(never);
}

TEST(Resolver, TheLoopMayEndBeforeTheQuestions) {
  TestDnsServer server(silent);
  auto loop = std::make_unique<asio::io_context>();
  Resolver resolver(loop->get_executor(), {at(server.port())});
  auto work = [](Resolver& of) -> Task<void> { (void)co_await of.resolve("a.example"); };
  asio::co_spawn(*loop, work(resolver), asio::detached);
  loop->run_for(100ms);
  loop.reset();
}

TEST(Resolver, WorksInAConfinedGate) {
  TestDnsServer server([](const Query& query, const DnsAsker& asker) -> Replies {
    auto whole = good(query, asker);
    if (query.name == "tcp.example" && !asker.tcp) whole[0][2] |= 0x02;
    return whole;
  });
  EXPECT_EQ(testing_support::in_child([&] {
              asio::io_context loop;
              if (!jail::confine_gate()) return 1;
              Resolver resolver(loop.get_executor(), {at(server.port())});
              for (const char* name : {"a.example", "b.example", "tcp.example"}) {
                auto found = test::run_value(loop, resolver.resolve(name));
                if (!found) std::fprintf(stderr, "%s\n", found.error().message().c_str());
                if (!found || found.value() != addresses({"192.0.2.1"})) return 2;
              }
              return 0;
            }),
            0);
}

/// In a network namespace of its own, after `setup`: how many addresses of both kinds are found.
int found_in_namespace(const char* setup) {
  return testing_support::in_child([&] {
    if (::unshare(CLONE_NEWNET) != 0 || std::system(setup) != 0) return 100;
    auto found = resolve([](const Query& query, const DnsAsker&) -> Replies {
      auto record = query.type == kA ? a_record(query.name, "192.0.2.1")
                                     : aaaa_record(query.name, "2001:db8::1");
      return {dns_reply(query, {record})};
    });
    if (!found || found.value()[0] != asio::ip::make_address("192.0.2.1")) return 101;
    return static_cast<int>(found.value().size());
  });
}

TEST(Resolver, IPv6ComesLastAndOnlyWhereThereIsAWay) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  EXPECT_EQ(found_in_namespace("ip link set lo up"), 1);
  EXPECT_EQ(found_in_namespace("ip link set lo up && ip addr add 2001:db8::2/128 dev lo && "
                               "ip -6 route add default dev lo"),
            2);
}

}  // namespace
}  // namespace hako::gate
