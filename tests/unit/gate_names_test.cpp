// A box's names and addresses, its DNS answers, and the limits and memories around them.
#include <arpa/nameser.h>
#include <gtest/gtest.h>
#include <resolv.h>

#include <set>

#include "gate/dns_service.h"
#include "gate/name_cache.h"
#include "gate/resolver.h"

namespace hako::gate {
namespace {

using namespace std::chrono_literals;
using asio::ip::make_address_v4;
using Message = std::vector<uint8_t>;

std::string numbered(int i) {
  return "host" + std::to_string(i) + ".example";
}

TEST(Names, ANameKeepsItsAddress) {
  Names names;
  auto address = names.address_of("a.example");
  EXPECT_TRUE(Names::is_synthetic(address));
  EXPECT_EQ(names.address_of("a.example"), address);
  ASSERT_NE(names.name_of(address), nullptr);
  EXPECT_EQ(*names.name_of(address), "a.example");
  EXPECT_NE(names.address_of("b.example"), address);
  EXPECT_EQ(names.name_of(make_address_v4("198.18.255.255")), nullptr);
  EXPECT_EQ(names.name_of(make_address_v4("192.0.2.1")), nullptr);
  // Also when the gate starts anew, whatever was asked before.
  Names later;
  later.address_of("b.example");
  EXPECT_EQ(later.address_of("a.example"), address);
}

TEST(Names, NoTwoNamesShareAnAddress) {
  Names names;
  std::set<asio::ip::address_v4> seen;
  for (int i = 0; i < static_cast<int>(Names::kMost); ++i) {
    auto address = names.address_of(numbered(i));
    EXPECT_TRUE(Names::is_synthetic(address));
    EXPECT_TRUE(seen.insert(address).second);
  }
  EXPECT_FALSE(seen.contains(make_address_v4("198.18.0.0")));
  EXPECT_FALSE(seen.contains(make_address_v4("198.19.255.255")));
  for (auto address : seen) EXPECT_EQ(names.address_of(*names.name_of(address)), address);
}

TEST(Names, WhatWasUsedLeastRecentlyIsForgotten) {
  Names names;
  auto first = names.address_of("first.example");
  auto second = names.address_of("second.example");
  for (int i = 2; i < static_cast<int>(Names::kMost); ++i) names.address_of(numbered(i));
  ASSERT_NE(names.name_of(first), nullptr);  // a use
  names.address_of("one.more.example");
  EXPECT_EQ(names.size(), Names::kMost);
  EXPECT_NE(names.name_of(first), nullptr);
  EXPECT_EQ(names.name_of(second), nullptr);
  EXPECT_EQ(names.address_of("second.example"), second);
}

TEST(Names, TheirNetwork) {
  for (auto text : {"198.18.0.0", "198.18.0.1", "198.19.255.255"})
    EXPECT_TRUE(Names::is_synthetic(make_address_v4(text)));
  for (auto text : {"198.17.255.255", "198.20.0.0", "8.8.8.8"})
    EXPECT_FALSE(Names::is_synthetic(make_address_v4(text)));
}

Message question(const char* name, int type, int klass = ns_c_in) {
  Message message(512);
  struct __res_state state {};
  res_ninit(&state);
  int length = res_nmkquery(&state, ns_o_query, name, klass, type, nullptr, 0, nullptr,
                            message.data(), static_cast<int>(message.size()));
  res_nclose(&state);
  EXPECT_GT(length, 0);
  message.resize(static_cast<size_t>(std::max(length, 0)));
  return message;
}

int rcode(const DnsAnswer& answer) {
  ns_msg parsed;
  EXPECT_EQ(ns_initparse(answer.message.data(), static_cast<int>(answer.message.size()), &parsed),
            0);
  return ns_msg_getflag(parsed, ns_f_rcode);
}

int answers(const DnsAnswer& answer) {
  ns_msg parsed;
  ns_initparse(answer.message.data(), static_cast<int>(answer.message.size()), &parsed);
  return ns_msg_count(parsed, ns_s_an);
}

class DnsService : public testing::Test {
 protected:
  DnsService() {
    policy::EgressLayer layer;
    layer.name = "request";
    layer.level = policy::EgressLevel::allow;
    layer.allow.push_back(policy::parse_target("*.example.com:443").value());
    policy_.layers.push_back(layer);
    policy_.links.push_back({"target.box", "box1", 80});
  }

  DnsAnswer ask(const char* name, int type, int klass = ns_c_in) {
    return answer_dns(question(name, type, klass), policy_, names_);
  }

  policy::EgressPolicy policy_;
  Names names_;
};

TEST_F(DnsService, AnAllowedNameHasAnAddress) {
  for (const char* name : {"www.example.com", "WWW.Example.COM", "target.box"}) {
    auto answer = ask(name, ns_t_a);
    EXPECT_TRUE(answer.allowed);
    EXPECT_TRUE(answer.noted);
    EXPECT_EQ(rcode(answer), ns_r_noerror);
    ASSERT_EQ(answers(answer), 1);
    ASSERT_TRUE(answer.address);
    ASSERT_NE(names_.name_of(*answer.address), nullptr);
    EXPECT_EQ(*names_.name_of(*answer.address), answer.name);
    EXPECT_FALSE(answer.rule.empty());
    auto bytes = answer.address->to_bytes();
    EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), answer.message.end() - 4));
  }
  EXPECT_EQ(names_.size(), 2u);
}

TEST_F(DnsService, AndNothingOfWhatIsAskedBesideIt) {
  for (int type : {28, 65, 64, 5}) {
    auto answer = ask("www.example.com", type);
    EXPECT_EQ(rcode(answer), ns_r_noerror) << type;
    EXPECT_EQ(answers(answer), 0);
    EXPECT_TRUE(answer.allowed);
    EXPECT_FALSE(answer.noted);
  }
  EXPECT_EQ(names_.size(), 0u);
}

TEST_F(DnsService, OtherTypesAndClassesAreRefused) {
  for (int type : {16, 10, 255, 15, 33, 2, 6, 252, 48, 12}) {
    auto answer = ask("www.example.com", type);
    EXPECT_EQ(rcode(answer), ns_r_refused) << type;
    EXPECT_FALSE(answer.allowed);
    EXPECT_TRUE(answer.noted);
    EXPECT_EQ(answer.rule, "dns.type");
  }
  EXPECT_EQ(rcode(ask("www.example.com", ns_t_a, ns_c_chaos)), ns_r_refused);
}

TEST_F(DnsService, AnyOtherNameIsRefusedWithTheRule) {
  for (const char* name : {"example.org", "example.com", "www.example.com.evil.org", "box", "."}) {
    for (int type : {1, 28, 16}) {
      auto answer = ask(name, type);
      EXPECT_EQ(rcode(answer), ns_r_refused) << name;
      EXPECT_FALSE(answer.allowed);
      EXPECT_TRUE(answer.noted);
      EXPECT_FALSE(answer.address);
      EXPECT_FALSE(answer.reason.empty());
    }
  }
  EXPECT_EQ(ask("example.org", 1).rule, "request.allow");
  EXPECT_EQ(names_.size(), 0u);
  auto nothing = answer_dns(question("www.example.com", 1), {}, names_);
  EXPECT_EQ(nothing.rule, "egress.none");
  EXPECT_EQ(rcode(nothing), ns_r_refused);
}

TEST_F(DnsService, AddressesHaveNoNames) {
  for (const char* name : {"1.0.18.198.in-addr.arpa", "22.0.254.169.in-addr.arpa", "1.ip6.arpa"}) {
    auto answer = ask(name, ns_t_ptr);
    EXPECT_EQ(rcode(answer), ns_r_nxdomain);
    EXPECT_FALSE(answer.noted);
  }
}

TEST_F(DnsService, WhatCannotBeReadSaysSo) {
  auto message = question("www.example.com", 1);
  message.pop_back();
  auto answer = answer_dns(message, policy_, names_);
  EXPECT_EQ(rcode(answer), ns_r_formerr);
  EXPECT_FALSE(answer.allowed);
  EXPECT_TRUE(answer.noted);
  EXPECT_EQ(answer.rule, "dns.message");
  EXPECT_TRUE(answer_dns({}, policy_, names_).message.empty());
}

TEST_F(DnsService, TooOftenIsRefused) {
  auto answer = refuse_dns(question("www.example.com", 1));
  EXPECT_EQ(rcode(answer), ns_r_refused);
  EXPECT_EQ(answer.name, "www.example.com");
  EXPECT_EQ(answer.rule, "limits.names");
  EXPECT_FALSE(answer.allowed);
}

class Cache : public testing::Test {
 protected:
  Addresses some(const char* text = "192.0.2.1") { return {asio::ip::make_address(text)}; }
  bool knows(const std::string& name, NameCache::Time::duration later) {
    return cache_.find(name, now_ + later).has_value();
  }

  NameCache cache_;
  NameCache::Time now_{1h};
};

TEST_F(Cache, KeepsForAsLongAsItMay) {
  cache_.put("short", some(), 0s, now_);
  cache_.put("middle", some(), 60s, now_);
  cache_.put("long", some(), 24h, now_);
  cache_.put("none", Error(ErrorCode::not_found, "no"), 24h, now_);
  EXPECT_TRUE(knows("short", 4999ms));
  EXPECT_FALSE(knows("short", 5s));
  EXPECT_TRUE(knows("middle", 59s));
  EXPECT_FALSE(knows("middle", 60s));
  EXPECT_TRUE(knows("long", 299s));
  EXPECT_FALSE(knows("long", 300s));
  EXPECT_TRUE(knows("none", 4999ms));
  EXPECT_FALSE(knows("none", 5s));
  EXPECT_FALSE(knows("other", 0s));
  EXPECT_EQ(cache_.find("middle", now_)->value(), some());
  EXPECT_EQ(cache_.find("none", now_)->error().code(), ErrorCode::not_found);
}

TEST_F(Cache, TheLatestAnswerCounts) {
  cache_.put("a", some(), 60s, now_);
  cache_.put("a", some("192.0.2.2"), 10s, now_);
  EXPECT_EQ(cache_.size(), 1u);
  EXPECT_EQ(cache_.find("a", now_)->value(), some("192.0.2.2"));
  EXPECT_FALSE(knows("a", 10s));
}

TEST_F(Cache, IsBounded) {
  cache_.put("soonest", some(), 6s, now_);
  for (int i = 1; i < static_cast<int>(NameCache::kMost); ++i)
    cache_.put(numbered(i), some(), 60s, now_);
  EXPECT_TRUE(knows("soonest", 0s));
  cache_.put("more", some(), 60s, now_);
  EXPECT_EQ(cache_.size(), NameCache::kMost);
  EXPECT_FALSE(knows("soonest", 0s));
  EXPECT_TRUE(knows("more", 0s));
}

DnsServer server(const char* address, uint16_t port = 53) {
  return {asio::ip::make_address(address), port};
}

TEST(DnsServers, OfResolvConf) {
  auto servers = resolvers_from(
      "# a comment\nsearch lan\nnameserver 192.0.2.1\n\tnameserver\t192.0.2.2  # with more\r\n"
      "nameserver nonsense\nnameserver\nnameservers 192.0.2.9\n;nameserver 192.0.2.8\n"
      "nameserver 2001:db8::1\nnameserver 192.0.2.4");
  EXPECT_EQ(servers,
            (std::vector{server("192.0.2.1"), server("192.0.2.2"), server("2001:db8::1")}));
  EXPECT_TRUE(resolvers_from("").empty());
  EXPECT_TRUE(resolvers_from("options edns0\n\n").empty());
  EXPECT_EQ(resolvers_from("nameserver 127.0.0.53").size(), 1u);
}

}  // namespace
}  // namespace hako::gate
