// From one box into another, along a link.
#include <gmock/gmock.h>

#include "support/gate_lab_egress.h"

namespace hako::test {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

std::string get(const std::string& path) {
  return "GET " + path + " HTTP/1.1\r\nHost: target.box\r\nConnection: close\r\n\r\n";
}

class EgressLinksTest : public EgressTest {
 protected:
  /// Box "box2", with a service on kServicePort and one on its loopback address only.
  Task<void> add_target() {
    target_.emplace();
    auto added = co_await node_->add("m2-1", *target_);
    CO_ASSERT_TRUE(added);
    auto publish = node_->publish("m2-1", "box2");
    CO_ASSERT_TRUE(co_await std::move(publish));
  }

  static policy::EgressPolicy linked(uint16_t port) {
    policy::EgressPolicy policy;
    policy.links.push_back({"target.box", "box2", port});
    return policy;
  }

  std::optional<ScriptedGuest> target_;
};

EGRESS_TEST_IN(EgressLinksTest, a_link_leads_to_one_port_of_one_box) {
  co_await add_target();
  auto policy = linked(ScriptedGuest::kServicePort);
  policy.links.push_back({"target.box", "box2", ScriptedGuest::kLoopbackPort});
  policy.links.push_back({"nobody.box", "box3", 8080});
  co_await set_policy(policy);
  std::string address = co_await lookup("target.box");
  EXPECT_THAT(address, StartsWith("198.1"));
  auto answer = co_await talk(address, ScriptedGuest::kServicePort, get("/linked"));
  EXPECT_THAT(answer, HasSubstr("service /linked"));
  auto hidden = co_await talk(address, ScriptedGuest::kLoopbackPort, get("/hidden"));
  EXPECT_THAT(hidden, HasSubstr("service /hidden"));
  auto other_port = co_await talk(address, 8081, get("/"));
  EXPECT_EQ(other_port, "<reset>");
  auto gone = co_await talk_to("nobody.box", 8080, get("/"));
  EXPECT_EQ(gone, "<reset>");
  auto nothing_else = co_await talk(World::kWeb, World::kEcho, "hello");
  EXPECT_EQ(nothing_else, "<reset>");
  co_await record(R"({"kind":"link","verdict":"allowed","name":"target.box","port":8080})");
  auto ended = co_await record(R"({"kind":"link","verdict":"ended","port":8080})");
  EXPECT_GT(ended.at("bytes_in").to_number<int64_t>(), 0);
  co_await record(R"({"verdict":"denied","rule":"link.port","port":8081})");
  co_await record(R"({"verdict":"denied","rule":"link.box","name":"nobody.box"})");
}

EGRESS_TEST_IN(EgressLinksTest, no_link_leads_to_the_daemon) {
  co_await add_target();
  for (uint16_t port : {uint16_t{49983}, uint16_t{49982}}) {
    co_await set_policy(linked(port));
    auto answer = co_await talk_to("target.box", port, get("/health"));
    EXPECT_EQ(answer, "<reset>") << port;
  }
  EXPECT_EQ(target_->open_connections(49983), 0);
}

EGRESS_TEST_IN(EgressLinksTest, a_link_that_is_taken_away_is_cut) {
  co_await add_target();
  co_await set_policy(linked(ScriptedGuest::kServicePort));
  std::string address = co_await lookup("target.box");
  auto stream = co_await connect(address, ScriptedGuest::kServicePort);
  co_await send(stream, "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_EQ(co_await receive(stream, 8), "HTTP/1.1");
  co_await set_policy(linked(8081));
  EXPECT_THAT(co_await rest_of(stream), testing::EndsWith("<reset>"));
  EXPECT_EQ(target_->established_connections(ScriptedGuest::kServicePort), 0);
}

EGRESS_TEST_IN(EgressLinksTest, a_link_ends_with_the_box_it_leads_to) {
  co_await add_target();
  co_await set_policy(linked(ScriptedGuest::kServicePort));
  std::string address = co_await lookup("target.box");
  auto stream = co_await connect(address, ScriptedGuest::kServicePort);
  co_await send(stream, "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_EQ(co_await receive(stream, 8), "HTTP/1.1");
  boost::json::object body;
  body["machine"] = "m2-1";
  auto order = node_->order("machine.remove", std::move(body));
  CO_ASSERT_TRUE(co_await std::move(order));
  EXPECT_THAT(co_await rest_of(stream), testing::EndsWith("<reset>"));
  auto next = co_await talk(address, ScriptedGuest::kServicePort, get("/"));
  EXPECT_EQ(next, "<reset>");
}

}  // namespace
}  // namespace hako::test
