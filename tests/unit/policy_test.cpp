#include <gtest/gtest.h>

#include "policy/limits.h"
#include "policy/listen.h"
#include "policy/registries.h"

namespace hako::policy {
namespace {

using std::chrono::seconds;

const BoxLimits kLimits{.max_memory_mib = 1024, .max_vcpus = 4, .max_ttl = seconds(3600)};

BoxRequest request(std::optional<int64_t> memory, std::optional<int64_t> vcpus, int64_t ttl) {
  return {.memory_mib = memory, .vcpus = vcpus, .ttl = seconds(ttl)};
}

TEST(MayCreate, AllowsWhatIsWithinTheLimits) {
  EXPECT_TRUE(may_create(request({}, {}, 1), kLimits).allowed);
  EXPECT_TRUE(may_create(request(64, 1, 3600), kLimits).allowed);
  EXPECT_TRUE(may_create(request(1024, 4, 300), kLimits).allowed);
}

TEST(MayCreate, NamesTheRuleThatDecided) {
  EXPECT_EQ(may_create(request(1025, 1, 1), kLimits).rule, "limits.memory");
  EXPECT_EQ(may_create(request(63, 1, 1), kLimits).rule, "limits.memory");
  EXPECT_EQ(may_create(request(64, 5, 1), kLimits).rule, "limits.vcpus");
  EXPECT_EQ(may_create(request(64, 0, 1), kLimits).rule, "limits.vcpus");
  EXPECT_EQ(may_create(request(64, 1, 0), kLimits).rule, "limits.ttl");
  EXPECT_EQ(may_create(request(64, 1, -5), kLimits).rule, "limits.ttl");
  EXPECT_EQ(may_create(request(64, 1, 3601), kLimits).rule, "limits.ttl");
  EXPECT_EQ(may_create(request(INT64_MAX, INT64_MAX, 1), kLimits).rule, "limits.memory");
}

TEST(MayCreate, SaysWhatWouldHaveToChange) {
  Decision decision = may_create(request(2048, {}, 1), kLimits);
  EXPECT_FALSE(decision.allowed);
  EXPECT_EQ(decision.explanation(),
            "2048 MiB of memory is over the limit of 1024 MiB; ask for less, or have the operator "
            "raise [limits] memory_mib");
  EXPECT_TRUE(may_create(request(64, 1, 1), kLimits).remedy.empty());
}

TEST(MayLive, EndingIsAlwaysAllowed) {
  EXPECT_TRUE(may_live(seconds(0), kLimits).allowed);
  EXPECT_TRUE(may_live(seconds(3600), kLimits).allowed);
  EXPECT_FALSE(may_live(seconds(3601), kLimits).allowed);
}

TEST(Loopback, KnowsAllItsForms) {
  for (const char* address : {"127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1"}) {
    EXPECT_TRUE(is_loopback(address)) << address;
  }
  for (const char* address : {"0.0.0.0", "::", "128.0.0.1", "10.0.0.1", "::ffff:10.0.0.1",
                              "fe80::1", "localhost", "", "127.1", "127.0.0.1 "}) {
    EXPECT_FALSE(is_loopback(address)) << address;
  }
}

/// Asks for the API on hardware, over TLS.
Listening listening(std::string_view address) {
  return {.section = "api", .address = address, .encrypted = true};
}

TEST(MayListen, EmulatedStaysOnLoopbackWithoutConsent) {
  Listening emulated = listening("127.0.0.1");
  emulated.emulated = true;
  EXPECT_EQ(may_listen(emulated).rule, "listen.loopback");
  EXPECT_EQ(may_listen(listening("0.0.0.0")).rule, "listen.hardware");
  emulated.address = "0.0.0.0";
  Decision denied = may_listen(emulated);
  EXPECT_FALSE(denied.allowed);
  EXPECT_EQ(denied.rule, "listen.emulated");
  EXPECT_NE(denied.explanation().find("allow_emulated_beyond_loopback"), std::string::npos);
  emulated.allow_emulated = true;
  EXPECT_EQ(may_listen(emulated).rule, "listen.consent");
}

TEST(MayListen, PlainStaysOnLoopbackWithoutConsent) {
  Listening plain = listening("127.0.0.1");
  plain.encrypted = false;
  EXPECT_EQ(may_listen(plain).rule, "listen.loopback");
  for (const char* address : {"0.0.0.0", "::", "10.0.0.1", "::ffff:10.0.0.1", "fe80::1"}) {
    plain.address = address;
    Decision denied = may_listen(plain);
    EXPECT_FALSE(denied.allowed);
    EXPECT_EQ(denied.rule, "listen.plain");
    EXPECT_NE(denied.explanation().find("[api] certificate and key"), std::string::npos);
    EXPECT_NE(denied.explanation().find("[api] allow_plain_beyond_loopback"), std::string::npos);
  }
  plain.section = "gate";
  EXPECT_NE(may_listen(plain).explanation().find("[gate] allow_plain_beyond_loopback"),
            std::string::npos);
  plain.allow_plain = true;
  EXPECT_EQ(may_listen(plain).rule, "listen.hardware");
}

TEST(MayListen, OneConsentIsNotTheOther) {
  Listening both = listening("0.0.0.0");
  both.emulated = true;
  both.encrypted = false;
  both.allow_plain = true;
  EXPECT_EQ(may_listen(both).rule, "listen.emulated") << "the weaker wall is told first";
  both.allow_emulated = true;
  EXPECT_EQ(may_listen(both).rule, "listen.consent");
  both.allow_plain = false;
  EXPECT_EQ(may_listen(both).rule, "listen.plain");
}

TEST(MayListen, ANameIsNotAnAddress) {
  EXPECT_EQ(may_listen(listening("localhost")).rule, "listen.address");
}

TEST(Registries, NothingIsListedByDefault) {
  RegistryLists none;
  Decision decision = may_pull("docker.io", none);
  EXPECT_FALSE(decision.allowed);
  EXPECT_EQ(decision.rule, "registries.listed");
  EXPECT_NE(decision.explanation().find("add \"docker.io\" to [template] registries"),
            std::string::npos);
  EXPECT_FALSE(may_reach("registry-1.docker.io", 443, none).allowed);
  EXPECT_FALSE(may_reach("127.0.0.1", 80, none).allowed);
  EXPECT_TRUE(loopback_endpoints(none).empty());
}

TEST(Registries, OnlyWhatIsListedIsReached) {
  RegistryLists lists{.registries = {"docker.io", "r.example:5000"},
                      .insecure = {"10.0.0.1", "plain.example:81"},
                      .hosts = {"*.cdn.example", "token.example"}};
  EXPECT_TRUE(may_pull("docker.io", lists).allowed);
  EXPECT_TRUE(may_pull("r.example:5000", lists).allowed);
  EXPECT_TRUE(may_pull("plain.example:81", lists).allowed);
  for (const char* other : {"r.example", "token.example", "registry-1.docker.io", "evil.docker.io"})
    EXPECT_FALSE(may_pull(other, lists).allowed) << other;
  EXPECT_TRUE(may_be_insecure("10.0.0.1", lists));
  EXPECT_FALSE(may_be_insecure("r.example:5000", lists));

  struct Case {
    const char* host;
    uint16_t port;
    bool allowed;
  };
  for (const Case& each : {Case{"registry-1.docker.io", 443, true},
                           {"AUTH.docker.io", 443, true},
                           {"registry-1.docker.io", 80, false},
                           {"docker.io", 443, false},
                           {"x.docker.io", 443, false},
                           {"r.example", 5000, true},
                           {"r.example", 443, false},
                           {"10.0.0.1", 80, true},
                           {"10.0.0.1", 443, true},
                           {"10.0.0.1", 22, false},
                           {"10.0.0.2", 80, false},
                           {"plain.example", 81, true},
                           {"plain.example", 80, false},
                           {"a.cdn.example", 443, true},
                           {"a.b.cdn.example", 443, true},
                           {"cdn.example", 443, false},
                           {".cdn.example", 443, false},
                           {"evilcdn.example", 443, false},
                           {"a.cdn.example", 80, false},
                           {"token.example", 443, true},
                           {"169.254.169.254", 80, false},
                           {"", 443, false}})
    EXPECT_EQ(may_reach(each.host, each.port, lists).allowed, each.allowed)
        << each.host << ":" << each.port;
}

TEST(Registries, LoopbackEndpointsAreTheListedOnes) {
  RegistryLists lists{.registries = {"localhost:5000", "r.example"},
                      .insecure = {"127.0.0.2", "127.0.0.1:5000"},
                      .hosts = {"127.0.0.1:5001", "*.localhost"}};
  EXPECT_EQ(loopback_endpoints(lists),
            (std::vector<LoopbackEndpoint>{{"127.0.0.1", 5000},
                                           {"127.0.0.2", 443},
                                           {"127.0.0.2", 80},
                                           {"127.0.0.1", 5001}}));
}

}  // namespace
}  // namespace hako::policy
