// DNS messages, read beside those that c-ares writes, and written for c-ares and glibc to read.
#include <ares.h>
#include <arpa/nameser.h>
#include <gtest/gtest.h>
#include <netdb.h>
#include <resolv.h>

#include <memory>

#include "base/encoding.h"
#include "wire/dns.h"

namespace hako::wire::dns {
namespace {

using Message = std::vector<uint8_t>;

Message from_hex(std::string_view hex) {
  auto bytes = hex_decode(hex).value();
  return {bytes.begin(), bytes.end()};
}

/// `example.com A`, as `dig +noedns +noad` asks it.
const Message kPlain = from_hex("1a2b01000001000000000000076578616d706c6503636f6d0000010001");
/// `WWW.Example.Com AAAA`, as dig asks it: EDNS with a cookie, 1232 bytes.
const Message kEdns = from_hex(
    "c0de012000010000000000010357575707457861"
    "6d706c6503436f6d00001c00010000290"
    "4d000000000000c000a0008d64f8cc1e5d0ab11");

/// What c-ares would send. `udp_size`: 0 for no EDNS.
Message asked_by_cares(const char* name, int type, int udp_size = 0) {
  unsigned char* bytes = nullptr;
  int length = 0;
  EXPECT_EQ(ares_create_query(name, kClassIn, type, 0xbeef, 1, &bytes, &length, udp_size),
            ARES_SUCCESS);
  Message message(bytes, bytes + length);
  ares_free_string(bytes);
  return message;
}

Query query_of(const Message& message) {
  auto query = parse_query(message);
  EXPECT_TRUE(query) << query.error().message();
  return query ? query.value() : Query{};
}

/// glibc's view of an answer: it checks that all counts and lengths are right.
ns_msg parsed_by_glibc(const Message& message) {
  ns_msg parsed;
  EXPECT_EQ(ns_initparse(message.data(), static_cast<int>(message.size()), &parsed), 0);
  return parsed;
}

/// The text of the extended error in the answer's EDNS record, its number before it.
std::string extended_error(const Message& message) {
  ns_msg parsed = parsed_by_glibc(message);
  ns_rr record;
  if (ns_parserr(&parsed, ns_s_ar, 0, &record) != 0 || ns_rr_type(record) != ns_t_opt) return "";
  const uint8_t* data = ns_rr_rdata(record);
  size_t length = ns_rr_rdlen(record);
  EXPECT_GE(length, 6u);
  EXPECT_EQ(ns_get16(data), 15u);
  EXPECT_EQ(ns_get16(data + 2), length - 4);
  return std::to_string(ns_get16(data + 4)) + " " +
         std::string(reinterpret_cast<const char*>(data) + 6, length - 6);
}

TEST(DnsQuery, AsDigAsks) {
  Query plain = query_of(kPlain);
  EXPECT_EQ(plain.id, 0x1a2b);
  EXPECT_TRUE(plain.recursion_desired);
  EXPECT_EQ(plain.name, "example.com");
  EXPECT_EQ(plain.type, kTypeA);
  EXPECT_EQ(plain.klass, kClassIn);
  EXPECT_FALSE(plain.has_edns);
  EXPECT_EQ(plain.udp_size, 512);

  Query edns = query_of(kEdns);
  EXPECT_EQ(edns.name, "www.example.com");
  EXPECT_EQ(edns.type, kTypeAaaa);
  EXPECT_TRUE(edns.has_edns);
  EXPECT_EQ(edns.udp_size, 1232);
}

TEST(DnsQuery, AsCaresAsks) {
  for (std::string name : {std::string("a"), std::string("example.com"), std::string("_srv._tcp.x"),
                           std::string(63, 'x') + ".com"}) {
    for (int type : {1, 28, 65, 16, 255}) {
      for (int udp_size : {0, 100, 4096}) {
        Query query = query_of(asked_by_cares(name.c_str(), type, udp_size));
        EXPECT_EQ(query.name, name);
        EXPECT_EQ(query.type, type);
        EXPECT_EQ(query.id, 0xbeef);
        EXPECT_EQ(query.has_edns, udp_size != 0);
        EXPECT_EQ(query.udp_size, std::max(udp_size, 512));
      }
    }
  }
  EXPECT_EQ(query_of(asked_by_cares("", 2)).name, "");
}

TEST(DnsQuery, TheLongestName) {
  std::string label(63, 'a');
  std::string longest = label + "." + label + "." + label + "." + std::string(61, 'b');
  EXPECT_EQ(query_of(asked_by_cares(longest.c_str(), 1)).name, longest);
  // One byte more: c-ares does not make it, so it is made by hand.
  Message message = from_hex("000101000001000000000000");
  for (size_t length : {63, 63, 63, 62}) {
    message.push_back(static_cast<uint8_t>(length));
    message.insert(message.end(), length, 'a');
  }
  for (int byte : {0, 0, 1, 0, 1}) message.push_back(static_cast<uint8_t>(byte));
  EXPECT_FALSE(parse_query(message));
}

TEST(DnsQuery, CutAnywhereItIsNone) {
  for (const Message& whole : {kPlain, kEdns}) {
    for (size_t length = 0; length < whole.size(); ++length) {
      auto query = parse_query(std::span(whole).first(length));
      ASSERT_FALSE(query) << length;
      EXPECT_EQ(query.error().code(), ErrorCode::invalid_argument);
    }
    Message longer = whole;
    longer.push_back(0);
    EXPECT_FALSE(parse_query(longer));
  }
}

TEST(DnsQuery, WhatIsNotOneQuestionIsRefused) {
  auto changed = [](size_t at, uint8_t value) {
    Message message = kPlain;
    message[at] = value;
    return message;
  };
  EXPECT_FALSE(parse_query(changed(2, 0x81)));   // a response
  EXPECT_FALSE(parse_query(changed(2, 0x29)));   // an update
  EXPECT_FALSE(parse_query(changed(5, 0)));      // no question
  EXPECT_FALSE(parse_query(changed(5, 2)));      // two
  EXPECT_FALSE(parse_query(changed(7, 1)));      // an answer
  EXPECT_FALSE(parse_query(changed(9, 1)));      // an authority
  EXPECT_FALSE(parse_query(changed(11, 1)));     // more, which is not there
  EXPECT_FALSE(parse_query(changed(12, 0xc0)));  // pointers
  EXPECT_FALSE(parse_query(changed(20, 0xc0)));
  EXPECT_FALSE(parse_query(changed(12, 0x40)));  // labels of another kind
  for (uint8_t byte : {0x00, 0x20, 0x2e, 0x5c, 0x2a, 0x80, 0xff})
    EXPECT_FALSE(parse_query(changed(14, byte))) << int{byte};
  // Two whole questions.
  Message two = changed(5, 2);
  two.insert(two.end(), kPlain.begin() + 12, kPlain.end());
  EXPECT_FALSE(parse_query(two));
}

TEST(DnsQuery, OneEdnsOfTheVersionThatIs) {
  Message version = kEdns;
  version[kEdns.size() - 17] = 1;
  EXPECT_FALSE(parse_query(version));
  // The record is the last 23 bytes.
  Message twice = kEdns;
  twice[11] = 2;
  twice.insert(twice.end(), kEdns.end() - 23, kEdns.end());
  EXPECT_FALSE(parse_query(twice));
  // Other records there are passed over, with a compressed name, too.
  Message other = kPlain;
  other[11] = 1;
  for (int byte : {0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 1, 2, 3, 4})
    other.push_back(static_cast<uint8_t>(byte));
  EXPECT_FALSE(query_of(other).has_edns);
}

TEST(DnsAnswer, AnAddressAsCaresReadsIt) {
  for (const Message& message : {kPlain, kEdns}) {
    Query query = query_of(message);
    Message answer = answer_address(query, {198, 18, 0, 7}, 60);
    ares_addrttl addresses[2];
    int count = 2;
    hostent* host = nullptr;
    ASSERT_EQ(ares_parse_a_reply(answer.data(), static_cast<int>(answer.size()), &host, addresses,
                                 &count),
              ARES_SUCCESS);
    std::unique_ptr<hostent, decltype(&ares_free_hostent)> owner(host, ares_free_hostent);
    ASSERT_EQ(count, 1);
    EXPECT_EQ(addresses[0].ttl, 60);
    EXPECT_EQ(ntohl(addresses[0].ipaddr.s_addr), 0xc6120007u);
    EXPECT_EQ(strcasecmp(host->h_name, query.name.c_str()), 0);

    ns_msg parsed = parsed_by_glibc(answer);
    EXPECT_EQ(ns_msg_id(parsed), query.id);
    EXPECT_EQ(ns_msg_getflag(parsed, ns_f_qr), 1);
    EXPECT_EQ(ns_msg_getflag(parsed, ns_f_rd), 1);
    EXPECT_EQ(ns_msg_getflag(parsed, ns_f_ra), 1);
    EXPECT_EQ(ns_msg_getflag(parsed, ns_f_rcode), ns_r_noerror);
    EXPECT_EQ(ns_msg_count(parsed, ns_s_ar), query.has_edns ? 1 : 0);
    // The question in the asker's own letters: some check.
    EXPECT_TRUE(std::equal(message.begin() + 12, message.begin() + 12 + 17, answer.begin() + 12));
  }
}

TEST(DnsAnswer, NothingOfThisType) {
  for (const Message& message : {kPlain, kEdns}) {
    Message answer = answer_nothing(query_of(message));
    ns_msg parsed = parsed_by_glibc(answer);
    EXPECT_EQ(ns_msg_getflag(parsed, ns_f_rcode), ns_r_noerror);
    EXPECT_EQ(ns_msg_count(parsed, ns_s_qd), 1);
    EXPECT_EQ(ns_msg_count(parsed, ns_s_an), 0);
  }
}

TEST(DnsAnswer, ARefusalSaysWhyToThoseWhoUnderstand) {
  auto refused = [](const Message& message, std::string_view text) {
    return refuse(query_of(message), Rcode::refused, ExtendedError::prohibited, text);
  };
  ns_msg parsed = parsed_by_glibc(refused(kPlain, "no"));
  EXPECT_EQ(ns_msg_getflag(parsed, ns_f_rcode), ns_r_refused);
  EXPECT_EQ(ns_msg_count(parsed, ns_s_ar), 0);
  EXPECT_EQ(extended_error(refused(kEdns, "no: by rule")), "18 no: by rule");
  EXPECT_EQ(extended_error(refused(kEdns, "")), "18 ");
  EXPECT_EQ(extended_error(refused(kEdns, std::string(999, 'x'))), "18 " + std::string(200, 'x'));
  // A character of two bytes does not lose one of them.
  EXPECT_EQ(extended_error(refused(kEdns, std::string(199, 'x') + "ä")),
            "18 " + std::string(199, 'x'));
}

TEST(DnsAnswer, NoneIsLongerThanWhatEverybodyTakes) {
  std::string label(63, 'a');
  std::string longest = label + "." + label + "." + label + "." + std::string(61, 'b');
  Query query = query_of(asked_by_cares(longest.c_str(), 1, 512));
  EXPECT_LE(answer_address(query, {1, 2, 3, 4}, 1).size(), 512u);
  EXPECT_LE(refuse(query, Rcode::refused, ExtendedError::other, std::string(999, 'x')).size(),
            512u);
}

TEST(DnsAnswer, ToWhatCannotBeRead) {
  EXPECT_EQ(refuse_unread(from_hex("1a2b0100000200000000000003")),
            from_hex("1a2b81810000000000000000"));
  // An update: not implemented.
  EXPECT_EQ(refuse_unread(from_hex("1a2b28000001000000000000")),
            from_hex("1a2ba8840000000000000000"));
  EXPECT_TRUE(refuse_unread(from_hex("1a2b8100000100000000000003")).empty());
  EXPECT_TRUE(refuse_unread(from_hex("1a2b01000001000000")).empty());
  EXPECT_TRUE(refuse_unread({}).empty());
}

}  // namespace
}  // namespace hako::wire::dns
