// What a box may reach: a real gate between a guest's network stack and a world of the test's own.
#include <gmock/gmock.h>

#include "support/gate_lab_egress.h"

namespace hako::test {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::StartsWith;

std::string get(const std::string& host, const std::string& path = "/x") {
  return "GET " + path + " HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n\r\n";
}

EGRESS_TEST(nothing_passes_without_a_policy) {
  auto refused = co_await talk(World::kWeb, World::kEcho, "hello");
  EXPECT_EQ(refused, "<reset>");
  auto reply = co_await ask_dns("web.example");
  EXPECT_EQ(reply.rcode, 5);
  EXPECT_EQ(world_->connections, 0);
  EXPECT_TRUE(world_->questions.empty());
}

EGRESS_TEST(an_address_is_reached_if_its_network_is_allowed) {
  co_await set_policy(allow("93.184.216.34:7000-7003"));
  auto stream = co_await connect(World::kWeb, World::kEcho);
  co_await send(stream, "hello");
  EXPECT_EQ(co_await receive(stream, 5), "hello");
  auto other = co_await talk(World::kOther, World::kEcho, "hello");
  EXPECT_EQ(other, "<reset>");
  auto port = co_await talk(World::kWeb, World::kPlainHttp, "hello");
  EXPECT_EQ(port, "<reset>");
  stream.close();
  auto allowed = co_await record(R"({"verdict":"allowed","kind":"tcp","port":7000})");
  EXPECT_EQ(allowed.at("address"), World::kWeb);
  auto ended = co_await record(R"({"verdict":"ended","port":7000})");
  EXPECT_EQ(ended.at("connection"), allowed.at("connection"));
  EXPECT_EQ(ended.at("bytes_out"), 5);
  EXPECT_EQ(ended.at("bytes_in"), 5);
  co_await record(R"({"verdict":"denied","address":"93.184.216.35","box":"box1"})");
}

EGRESS_TEST(a_name_gets_an_address_of_its_own_and_is_reached_by_it) {
  co_await set_policy(allow("web.example"));
  auto address = co_await lookup("web.example");
  EXPECT_THAT(address, StartsWith("198.1"));
  auto again = co_await ask_dns("web.example", 1, "8.8.8.8");
  EXPECT_EQ(again.address, address);
  EXPECT_TRUE(world_->questions.empty());  // nobody was asked yet
  auto answer = co_await talk(address, World::kPlainHttp, get("web.example:8080"));
  EXPECT_THAT(answer, HasSubstr("web web.example:8080 /x"));
  EXPECT_FALSE(world_->questions.empty());
  auto other = co_await ask_dns("other.example");
  EXPECT_EQ(other.rcode, 5);
  EXPECT_THAT(other.text, HasSubstr("not on the list"));
}

}  // namespace
}  // namespace hako::test
