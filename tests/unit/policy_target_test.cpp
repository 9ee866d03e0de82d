// Entries of lists: how they are written, what they match, what lies within what.
#include <gtest/gtest.h>

#include "policy/target_match.h"

namespace hako::policy {
namespace {

Target target(std::string_view text) {
  auto parsed = parse_target(text);
  EXPECT_TRUE(parsed) << text;
  return parsed ? parsed.value() : Target();
}

boost::asio::ip::address address(const char* text) {
  return boost::asio::ip::make_address(text);
}

TEST(ParseTarget, ReadsNamesAndClearsThem) {
  EXPECT_EQ(target("example.com").kind, Target::Kind::name);
  EXPECT_EQ(target("Example.COM.").name, "example.com");
  EXPECT_EQ(target("*.example.com").kind, Target::Kind::names_below);
  EXPECT_EQ(target("*.example.com").name, "example.com");
  EXPECT_EQ(target("*").kind, Target::Kind::names_below);
  EXPECT_EQ(target("*").name, "");
  EXPECT_EQ(target("_dmarc.my-host.x1").name, "_dmarc.my-host.x1");
  EXPECT_EQ(target("localhost").name, "localhost");
}

TEST(ParseTarget, ReadsNetworksAndClearsTheBitsBehindThePrefix) {
  EXPECT_EQ(target("10.1.2.3/8").network, address("10.0.0.0"));
  EXPECT_EQ(target("10.1.2.3/8").prefix, 8);
  EXPECT_EQ(target("192.0.2.1").prefix, 32);
  EXPECT_EQ(target("192.0.2.255/25").network, address("192.0.2.128"));
  EXPECT_EQ(target("0.0.0.0/0").prefix, 0);
  EXPECT_EQ(target("[2001:db8::1]/32").network, address("2001:db8::"));
  EXPECT_EQ(target("2001:db8::1").prefix, 128);
  EXPECT_EQ(target("2001:db8::/33").prefix, 33);
}

TEST(ParseTarget, ReadsPorts) {
  EXPECT_TRUE(target("example.com").ports.empty());
  EXPECT_EQ(target("*:443").ports, (std::vector<PortRange>{{443, 443}}));
  EXPECT_EQ(target("192.0.2.0/24:80-90,443").ports,
            (std::vector<PortRange>{{80, 90}, {443, 443}}));
  EXPECT_EQ(target("[2001:db8::]/32:1-65535").ports, (std::vector<PortRange>{{1, 65535}}));
}

TEST(ParseTarget, WritesWhatItReads) {
  for (const char* text :
       {"example.com", "*.example.com:443", "*", "*:80", "10.0.0.0/8", "192.0.2.1:80-90,443",
        "[2001:db8::]/32:443", "[2001:db8::1]", "0.0.0.0/0", "[::]/0"}) {
    EXPECT_EQ(to_string(target(text)), text);
  }
  EXPECT_EQ(to_string(target("2001:DB8::")), "[2001:db8::]");
  EXPECT_EQ(to_string(target("192.0.2.1/32:5-5")), "192.0.2.1:5");
}

TEST(ParseTarget, RefusesWhatIsNeitherAndSaysWhy) {
  std::string long_label(64, 'a');
  std::string many_ports = "a.b:1";
  for (int i = 0; i < 32; ++i) many_ports += ",1";
  for (const std::string& text : std::vector<std::string>{
           "", ".", "a..b", ".a", "a b", " a", "a\n", std::string("a\0b", 3), "https://a.b", "a.b/",
           "a.b/c", "a.b/24", "b\xc3\xbc" "cher.example", "*.", "*.*.a", "a.*.b", "**", "*a.b",
           long_label, long_label + ".b", std::string(254, 'a'), std::string(600, '1'),
           // No resolver takes these for names.
           "1.2.3", "1.2.3.4.5", "256.1.1.1", "1.2.3.04", "0x7f.1", "0x7f000001", "2130706433",
           "a.123", "*.1", "1.2.3.4.",
           "1.2.3.4/33", "1.2.3.4/-1", "1.2.3.4/", "1.2.3.4/8/8", "1.2.3.4/+8", "[::1]/129",
           "[1.2.3.4]", "[::1", "::1]", "[example.com]", "[::1]x", "[::1%lo]", "fe80::1%1",
           "::ffff:1.2.3.4", "[::ffff:10.0.0.0]/104",
           "a.b:", "a.b:0", "a.b:65536", "a.b:http", "a.b:90-80", "a.b:1-", "a.b:-1", "a.b:1,",
           "a.b:,1", "a.b:+1", "a.b: 1", "a.b:80:80", many_ports}) {
    auto parsed = parse_target(text);
    EXPECT_FALSE(parsed) << in_quotes(text);
    if (parsed) continue;
    EXPECT_EQ(parsed.error().code(), ErrorCode::invalid_argument);
    EXPECT_EQ(parsed.error().message().rfind(in_quotes(text), 0), 0u);
    EXPECT_EQ(parsed.error().message().find('\n'), std::string::npos);
  }
}

TEST(CanBeName, LabelsAndLengths) {
  std::string label(63, 'a');
  std::string longest = label + "." + label + "." + label + "." + std::string(61, 'a');
  EXPECT_TRUE(can_be_name(longest));
  EXPECT_FALSE(can_be_name(longest + "a"));
  EXPECT_TRUE(can_be_name("1.a"));
  EXPECT_TRUE(can_be_name("0xg"));
  EXPECT_FALSE(can_be_name("A.b")) << "names are compared as they are";
  EXPECT_FALSE(can_be_name("a.b."));
  EXPECT_FALSE(can_be_name("a.0x"));
}

TEST(MatchesName, TheNameItselfIsNotBelowItself) {
  EXPECT_TRUE(matches_name(target("*.example.com"), "a.example.com"));
  EXPECT_TRUE(matches_name(target("*.example.com"), "a.b.example.com"));
  EXPECT_FALSE(matches_name(target("*.example.com"), "example.com"));
  EXPECT_FALSE(matches_name(target("*.example.com"), "anexample.com"));
  EXPECT_FALSE(matches_name(target("*.example.com"), ".example.com"));
  EXPECT_FALSE(matches_name(target("example.com"), "a.example.com"));
  EXPECT_TRUE(matches_name(target("*"), "a"));
  EXPECT_TRUE(matches_name(target("0.0.0.0/0"), "a")) << "everything";
  EXPECT_FALSE(matches_name(target("[::]/0"), "a"));
  EXPECT_FALSE(matches_name(target("10.0.0.0/8"), "a"));
}

TEST(MatchesAddress, ByPrefixAndFamily) {
  EXPECT_TRUE(matches_address(target("10.0.0.0/8"), address("10.255.255.255")));
  EXPECT_FALSE(matches_address(target("10.0.0.0/8"), address("11.0.0.0")));
  EXPECT_TRUE(matches_address(target("192.0.2.128/25"), address("192.0.2.128")));
  EXPECT_FALSE(matches_address(target("192.0.2.128/25"), address("192.0.2.127")));
  EXPECT_TRUE(matches_address(target("10.0.0.0/8"), address("::ffff:10.0.0.1")));
  EXPECT_FALSE(matches_address(target("10.0.0.0/8"), address("a00::1")));
  EXPECT_TRUE(matches_address(target("[2001:db8::]/33"), address("2001:db8:7fff::")));
  EXPECT_FALSE(matches_address(target("[2001:db8::]/33"), address("2001:db8:8000::")));
  EXPECT_TRUE(matches_address(target("0.0.0.0/0"), address("2001:db8::")));
  EXPECT_FALSE(matches_address(target("[::]/0"), address("1.1.1.1")));
  EXPECT_FALSE(matches_address(target("*"), address("1.1.1.1")));
}

TEST(Covers, NamesNetworksAndPorts) {
  auto covers_one = [](const char* wide, const char* entry) {
    return covers({target(wide)}, target(entry));
  };
  EXPECT_TRUE(covers_one("*", "example.com"));
  EXPECT_TRUE(covers_one("*", "*.example.com"));
  EXPECT_TRUE(covers_one("*.com", "*.example.com"));
  EXPECT_TRUE(covers_one("*.example.com", "*.example.com:443"));
  EXPECT_FALSE(covers_one("*.example.com", "example.com"));
  EXPECT_FALSE(covers_one("example.com", "*.example.com"));
  EXPECT_FALSE(covers_one("*.example.com", "*"));
  EXPECT_FALSE(covers_one("example.com:443", "example.com"));
  EXPECT_TRUE(covers_one("example.com:1-65535", "example.com"));
  EXPECT_TRUE(covers_one("10.0.0.0/8", "10.1.0.0/16"));
  EXPECT_FALSE(covers_one("10.1.0.0/16", "10.0.0.0/8"));
  EXPECT_TRUE(covers_one("0.0.0.0/0", "*"));
  EXPECT_TRUE(covers_one("0.0.0.0/0", "[::]/0"));
  EXPECT_FALSE(covers_one("*", "0.0.0.0/0"));
  EXPECT_FALSE(covers_one("[::]/0", "0.0.0.0/0"));
  EXPECT_TRUE(covers({target("a.b:80"), target("*:400-500")}, target("a.b:80,443")));
  EXPECT_FALSE(covers({target("a.b:80"), target("*:400-500")}, target("a.b:80-443")));
  EXPECT_FALSE(covers({}, target("a.b")));
}

TEST(IsNarrow, AListIsNotTheInternetUnderAnotherName) {
  for (const char* text : {"a", "example.com", "*.example.com", "10.1.0.0/16", "1.2.3.4",
                           "[2001:db8::]/32"}) {
    EXPECT_TRUE(is_narrow(target(text))) << text;
  }
  for (const char* text : {"*", "*:443", "*.com", "0.0.0.0/0", "0.0.0.0/0:443", "128.0.0.0/1",
                           "10.0.0.0/15", "[2000::]/3", "[2001:db8::]/31"}) {
    EXPECT_FALSE(is_narrow(target(text))) << text;
  }
}

}  // namespace
}  // namespace hako::policy
