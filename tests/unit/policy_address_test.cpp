// Every range that is not public, at both its edges, in every form that can carry it.
#include <gtest/gtest.h>

#include "policy/egress.h"

namespace hako::policy {
namespace {

namespace ip = boost::asio::ip;

bool is_public(const std::string& text) {
  return policy::is_public(ip::make_address(text));
}

struct Edges {
  const char* before;  ///< public; empty: the range next to it is not public either
  const char* first;
  const char* last;
  const char* behind;
};

const Edges kNotPublic4[] = {
    {"", "0.0.0.0", "0.255.255.255", "1.0.0.0"},
    {"9.255.255.255", "10.0.0.0", "10.255.255.255", "11.0.0.0"},
    {"100.63.255.255", "100.64.0.0", "100.127.255.255", "100.128.0.0"},
    {"126.255.255.255", "127.0.0.0", "127.255.255.255", "128.0.0.0"},
    {"168.63.129.15", "168.63.129.16", "168.63.129.16", "168.63.129.17"},
    {"169.253.255.255", "169.254.0.0", "169.254.255.255", "169.255.0.0"},
    {"172.15.255.255", "172.16.0.0", "172.31.255.255", "172.32.0.0"},
    {"191.255.255.255", "192.0.0.0", "192.0.0.255", "192.0.1.0"},
    {"192.0.1.255", "192.0.2.0", "192.0.2.255", "192.0.3.0"},
    {"192.88.98.255", "192.88.99.0", "192.88.99.255", "192.88.100.0"},
    {"192.167.255.255", "192.168.0.0", "192.168.255.255", "192.169.0.0"},
    {"198.17.255.255", "198.18.0.0", "198.19.255.255", "198.20.0.0"},
    {"198.51.99.255", "198.51.100.0", "198.51.100.255", "198.51.101.0"},
    {"203.0.112.255", "203.0.113.0", "203.0.113.255", "203.0.114.0"},
    {"223.255.255.255", "224.0.0.0", "239.255.255.255", ""},
    {"", "240.0.0.0", "255.255.255.255", ""},
};

const Edges kNotPublic6[] = {
    {"", "::", "1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2000::"},
    {"2000:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2001::",
     "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff", "2001:200::"},
    {"2001:db7:ffff:ffff:ffff:ffff:ffff:ffff", "2001:db8::",
     "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", "2001:db9::"},
    {"3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "3fff::",
     "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff", "3fff:1000::"},
    {"3fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "4000::",
     "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", ""},
};

void check(const Edges& edges) {
  EXPECT_FALSE(is_public(edges.first)) << edges.first;
  EXPECT_FALSE(is_public(edges.last)) << edges.last;
  for (const char* beside : {edges.before, edges.behind}) {
    EXPECT_TRUE(!*beside || is_public(beside)) << beside;
  }
}

TEST(IsPublic, EdgesOfEveryRange) {
  for (const Edges& edges : kNotPublic4) check(edges);
  for (const Edges& edges : kNotPublic6) check(edges);
}

TEST(IsPublic, MetadataServicesOfClouds) {
  for (const char* text : {"169.254.169.254", "169.254.170.2", "169.254.0.23", "100.100.100.200",
                           "192.0.0.192", "168.63.129.16", "fd00:ec2::254", "fd20:ce::254"}) {
    EXPECT_FALSE(is_public(text)) << text;
  }
}

TEST(IsPublic, WellKnownPublicAddresses) {
  for (const char* text : {"1.1.1.1", "8.8.8.8", "93.184.216.34", "2606:4700:4700::1111",
                           "2a00:1450:4001:80b::200e", "2620:fe::fe"}) {
    EXPECT_TRUE(is_public(text)) << text;
  }
}

/// The address with `v4` in it, at `offset` bytes behind `prefix`.
std::string carrying(const char* prefix, size_t offset, const std::string& v4) {
  auto bytes = ip::make_address_v6(prefix).to_bytes();
  auto inner = ip::make_address_v4(v4).to_bytes();
  std::copy(inner.begin(), inner.end(), bytes.begin() + ptrdiff_t(offset));
  return ip::address_v6(bytes).to_string();
}

TEST(IsPublic, AddressesWithinIpv6AreJudgedByWhatTheyCarry) {
  struct Form {
    const char* prefix;
    size_t offset;
  };
  const Form judged[] = {{"::ffff:0:0", 12},          // mapped
                         {"64:ff9b::", 12},           // NAT64
                         {"2002::1", 2},              // 6to4
                         {"2a00::5efe:0:0", 12},      // ISATAP
                         {"2a00::200:5efe:0:0", 12},  // ISATAP, of a unique address
                         {"2a00::300:5efe:0:0", 12}};
  for (const Form& form : judged) {
    EXPECT_TRUE(is_public(carrying(form.prefix, form.offset, "8.8.8.8"))) << form.prefix;
    for (const Edges& edges : kNotPublic4) {
      for (const char* inner : {edges.first, edges.last}) {
        EXPECT_FALSE(is_public(carrying(form.prefix, form.offset, inner)))
            << form.prefix << " " << inner;
      }
    }
  }
}

TEST(IsPublic, FormsThatCarryAnAddressWhereNobodyShouldAreRefused) {
  const char* const prefixes[] = {"::",           // compatible, given up
                                  "64:ff9b:1::",  // NAT64 of a site
                                  "2001::",       // Teredo
                                  "fe80::5efe:0:0"};
  for (const char* prefix : prefixes) EXPECT_FALSE(is_public(carrying(prefix, 12, "8.8.8.8")));
}

}  // namespace
}  // namespace hako::policy
