// Which addresses and names a box reaches, how long, and what is told about it.
#include <gmock/gmock.h>

#include "gate/own_addresses.h"
#include "support/gate_lab_egress.h"

namespace hako::test {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

std::string get(const std::string& host) {
  return "GET /x HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n\r\n";
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

EGRESS_TEST(the_internet_is_every_public_address_and_no_other) {
  co_await set_policy(internet());
  auto direct = co_await connect(World::kWeb, World::kEcho);
  co_await send(direct, "hello");
  EXPECT_EQ(co_await receive(direct, 5), "hello");
  for (std::string address : {World::kPrivate, World::kMetadata, World::kGateLink,
                              World::kGatePublic, World::kGateSecond, "127.0.0.1",
                              "169.254.0.22", "198.18.0.1", "100.64.0.1", "224.0.0.1",
                              "0.0.0.0"}) {
    auto answer = co_await talk(address, World::kEcho, "hello");
    EXPECT_THAT(answer, testing::AnyOf("<reset>", "<refused>")) << address;
    auto http = co_await talk(address, World::kHttp, get("x"));
    EXPECT_THAT(http, testing::AnyOf(StartsWith("HTTP/1.1 403"), "<reset>", "<refused>"))
        << address;
  }
  EXPECT_EQ(world_->connections, 1);
  co_await record(R"({"verdict":"denied","rule":"egress.private","address":"169.254.169.254"})");
  co_await record(R"({"verdict":"denied","rule":"egress.own","address":"93.184.200.1"})");
  co_await record(R"({"verdict":"denied","rule":"egress.own","address":"93.184.202.2"})");
}

EGRESS_TEST(a_name_does_not_lead_to_where_its_addresses_may_not) {
  co_await set_policy(allow("*.example"));
  world_->ttl = 0;
  for (std::string address : {World::kPrivate, World::kMetadata, World::kGateLink,
                              World::kGatePublic, World::kGateSecond, "127.0.0.1", "0.0.0.0"}) {
    world_->names["rebind" + address + ".example"] = {address};
    auto answer = co_await talk_to("rebind" + address + ".example", World::kEcho, "hello");
    EXPECT_EQ(answer, "<reset>") << address;
    auto http = co_await talk_to("rebind" + address + ".example", World::kHttp, get("x"));
    EXPECT_THAT(http, StartsWith("HTTP/1.1 403")) << address;
  }
  EXPECT_EQ(world_->connections, 0);
  // Of several addresses the others do.
  world_->names["mixed.example"] = {World::kMetadata, World::kPrivate, World::kWeb};
  auto mixed = co_await talk_to("mixed.example", World::kHttp, get("mixed.example"));
  EXPECT_THAT(mixed, StartsWith("HTTP/1.1 200"));
  co_await record(R"({"verdict":"denied","rule":"egress.private","address":"10.1.2.3"})");
}

EGRESS_TEST(every_address_of_the_host_is_its_own_and_no_other) {
  auto open = [] { return gate::OwnAddresses::open(); };
  auto own = network::in_namespace(world_->gate_netns().get(), open);
  CO_ASSERT_TRUE(own);
  for (std::string address : {World::kGateLink, World::kGatePublic, World::kGateFirst,
                              World::kGateSecond, World::kGateFirst6, World::kGateSecond6})
    EXPECT_TRUE(own.value().have(asio::ip::make_address(address))) << address;
  for (const char* form : {"64:ff9b::93.184.202.2", "2002:5db8:ca02::1", "2002:7f00:1::1"})
    EXPECT_TRUE(own.value().have(asio::ip::make_address(form))) << form;
  // On a link, behind a route, and where no way leads.
  for (const char* address : {World::kResolver, "93.184.202.3", "2a00:99::3", World::kWeb,
                              "2a00:100::1"})
    EXPECT_FALSE(own.value().have(asio::ip::make_address(address))) << address;
  co_return;
}

EGRESS_TEST(what_the_operator_opens_is_reached) {
  auto policy = allow("10.1.2.3 private.example 10.99.0.1 93.184.200.1");
  policy.private_networks = internet("10.0.0.0/8").layers[0].deny;
  co_await set_policy(policy);
  world_->names["private.example"] = {World::kPrivate};
  auto direct = co_await talk(World::kPrivate, World::kDigest, "");
  EXPECT_EQ(direct, "<open>");
  auto named = co_await talk_to("private.example", World::kHttp, get("private.example"));
  EXPECT_THAT(named, StartsWith("HTTP/1.1 200"));
  // Its own addresses the gate never opens.
  for (std::string own : {World::kGateLink, World::kGatePublic}) {
    auto answer = co_await talk(own, World::kEcho, "hello");
    EXPECT_EQ(answer, "<reset>") << own;
  }
}

EGRESS_TEST(an_answer_is_kept_for_a_while) {
  co_await set_policy(allow("web.example"));
  world_->ttl = 0;
  auto first = co_await talk_to("web.example", World::kHttp, get("web.example"));
  EXPECT_THAT(first, StartsWith("HTTP/1.1 200"));
  world_->names["web.example"] = {World::kPrivate};
  auto second = co_await talk_to("web.example", World::kHttp, get("web.example"));
  EXPECT_THAT(second, StartsWith("HTTP/1.1 200"));
}

EGRESS_TEST(names_are_asked_for_only_if_allowed_and_answered_at_once) {
  co_await set_policy(allow("web.example *.below.example"));
  for (std::string name : {"evil.example", "data.evil.example", "below.example", "example", ""}) {
    auto refused = co_await ask_dns(name);
    EXPECT_EQ(refused.rcode, 5) << name;
  }
  for (int type : {2, 6, 10, 15, 16, 33, 35, 255}) {
    auto refused = co_await ask_dns("web.example", type);
    EXPECT_EQ(refused.rcode, 5) << type;
  }
  for (int type : {28, 65}) {
    auto empty = co_await ask_dns("web.example", type);
    EXPECT_EQ(empty.rcode, 0) << type;
    EXPECT_EQ(empty.address, "") << type;
  }
  auto reverse = co_await ask_dns("1.0.18.198.in-addr.arpa", 12);
  EXPECT_EQ(reverse.rcode, 3);
  auto plain = co_await ask_dns("web.example", 1, "1.1.1.1", false);
  EXPECT_THAT(plain.address, StartsWith("198.1"));
  auto below = co_await ask_dns("a.b.below.example");
  EXPECT_EQ(below.rcode, 0);
  EXPECT_TRUE(world_->questions.empty());
  // Over TCP the same, to whatever address.
  std::string question("\0\x1d\x12\x34\x01\0\0\1\0\0\0\0\0\0\3web\7example\0\0\1\0\1", 31);
  auto stream = co_await connect("9.9.9.9", 53);
  co_await send(stream, question + question.substr(0, 5));
  auto length = co_await receive(stream, 2);
  auto answer = co_await receive(stream, static_cast<size_t>(length[1]));
  EXPECT_EQ(answer[3] & 0xf, 0);
  EXPECT_EQ(answer.substr(answer.size() - 4, 1), "\xc6");
  co_await send(stream, question.substr(5));
  length = co_await receive(stream, 2);
  EXPECT_GT(length[1], 12);
  co_await record(R"({"kind":"dns","verdict":"allowed","name":"web.example"})");
  co_await record(R"({"kind":"dns","verdict":"denied","name":"evil.example"})");
}

EGRESS_TEST(an_address_that_stands_for_no_name_leads_nowhere) {
  co_await set_policy(internet());
  auto unknown = co_await talk("198.18.7.7", World::kHttps, "hello");
  EXPECT_EQ(unknown, "<reset>");
  auto failing = co_await talk_to("missing.example", World::kHttps, "hello");
  EXPECT_EQ(failing, "<reset>");
  auto ended = co_await record(R"({"verdict":"ended","name":"missing.example"})");
  EXPECT_THAT(std::string(ended.at("reason").as_string()), HasSubstr("missing.example"));
  auto closed = co_await talk(World::kWeb, 9999, "hello");
  EXPECT_EQ(closed, "<reset>");
  auto refused = co_await record(R"({"verdict":"ended","port":9999})");
  EXPECT_THAT(std::string(refused.at("reason").as_string()), HasSubstr("refused"));
}

EGRESS_TEST(a_server_that_does_not_answer_is_given_up) {
  co_await set_policy(internet());
  auto start = std::chrono::steady_clock::now();
  auto stream = co_await connect(World::kSilent, World::kEcho);
  auto answer = co_await rest_of(stream, 12s);
  EXPECT_EQ(answer, "<reset>");
  EXPECT_LT(std::chrono::steady_clock::now() - start, 11s);
}

EGRESS_TEST(a_new_policy_cuts_what_it_forbids_and_nothing_else) {
  world_->names["kept.example"] = {World::kWeb};
  co_await set_policy(allow("web.example kept.example 93.184.216.35"));
  std::string address = co_await lookup("web.example");
  std::string kept_address = co_await lookup("kept.example");
  std::vector<http::Stream> doomed;
  for (std::string way : {address, address, std::string(World::kOther)}) {
    doomed.push_back(co_await connect(way, World::kEcho));
    co_await send(doomed.back(), "1\n");
    EXPECT_EQ(co_await receive(doomed.back(), 2), "1\n");
  }
  doomed.push_back(co_await connect(address, World::kHttps));      // has said nothing yet
  doomed.push_back(co_await connect(address, World::kGreeting));   // the same
  auto in_http = co_await connect(address, World::kHttp);
  co_await send(in_http,
                "POST /x HTTP/1.1\r\nHost: web.example\r\nContent-Length: 10\r\n\r\n12345");
  doomed.push_back(std::move(in_http));
  auto kept = co_await connect(kept_address, World::kEcho);
  co_await send(kept, "1\n");
  EXPECT_EQ(co_await receive(kept, 2), "1\n");
  EXPECT_EQ(world_->open, 5);
  auto policy = allow("kept.example");
  co_await set_policy(policy);
  for (size_t i = 0; i < doomed.size(); ++i) {
    auto end = co_await rest_of(doomed[i]);
    EXPECT_THAT(end, testing::AnyOf("<reset>", "hello\n<reset>")) << i;
  }
  co_await send(kept, "2\n");
  EXPECT_EQ(co_await receive(kept, 2), "2\n");
  EXPECT_EQ(world_->open, 1);
  // The policy without any layer cuts the last one.
  co_await set_policy(nothing());
  EXPECT_EQ(co_await rest_of(kept), "<reset>");
  auto ended = co_await record(R"({"verdict":"ended","name":"kept.example"})");
  EXPECT_THAT(std::string(ended.at("reason").as_string()), HasSubstr("policy"));
}

EGRESS_TEST(what_was_not_compared_with_its_name_ends_when_that_is_asked_for) {
  co_await set_policy(internet());
  std::string address = co_await lookup("web.example");
  auto stream = co_await connect(address, World::kEcho);
  co_await send(stream, "hello");
  EXPECT_EQ(co_await receive(stream, 5), "hello");
  co_await set_policy(allow("web.example"));
  EXPECT_EQ(co_await rest_of(stream), "<reset>");
}

EGRESS_TEST(a_machine_that_goes_takes_everything_with_it) {
  co_await set_policy(internet());
  auto stream = co_await connect(World::kWeb, World::kEcho);
  co_await send(stream, "hello");
  EXPECT_EQ(co_await receive(stream, 5), "hello");
  boost::json::object body;
  body["machine"] = "m1-1";
  auto order = node_->order("machine.remove", std::move(body));
  CO_ASSERT_TRUE(co_await std::move(order));
  EXPECT_EQ(co_await rest_of(stream), "<reset>");
  auto next = co_await talk(World::kWeb, World::kEcho, "hello");
  EXPECT_EQ(next, "<refused>");
  auto reply = co_await ask_dns("web.example");
  EXPECT_EQ(reply.rcode, -1);
  auto ended = co_await record(R"({"verdict":"ended","port":7000,"box":"box1"})");
  EXPECT_EQ(ended.at("bytes_out"), 5);
  EXPECT_EQ(world_->open, 0);
}

EGRESS_TEST(a_gate_that_starts_anew_has_opened_nothing_meanwhile) {
  co_await set_policy(internet());
  auto stream = co_await connect(World::kWeb, World::kEcho);
  co_await send(stream, "hello");
  EXPECT_EQ(co_await receive(stream, 5), "hello");
  std::string address = co_await lookup("web.example");
  co_await gate_->process().kill();
  EXPECT_NE(co_await rest_of(stream), "<open>");
  auto meanwhile = co_await talk(World::kWeb, World::kEcho, "hello");
  EXPECT_EQ(meanwhile, "<refused>");
  EXPECT_EQ(world_->connections, 1);
  node_->disconnect();
  start_gate();
  co_await announce();
  auto again = co_await connect(World::kWeb, World::kEcho);
  co_await send(again, "again");
  EXPECT_EQ(co_await receive(again, 5), "again");
  EXPECT_EQ(co_await lookup("web.example"), address);
}

EGRESS_TEST(sockets_are_replaced_while_connections_go_on) {
  co_await set_policy(internet());
  auto stream = co_await connect(World::kWeb, World::kEcho);
  co_await send(stream, "hello");
  EXPECT_EQ(co_await receive(stream, 5), "hello");
  for (int round = 0; round < 3; ++round) {
    auto added = co_await node_->add_egress("m1-1", *slot_);
    CO_ASSERT_TRUE(added);
    co_await send(stream, "again");
    EXPECT_EQ(co_await receive(stream, 5), "again");
    for (int i = 0; i < 5; ++i) {
      auto next = co_await connect(World::kWeb, World::kEcho);
      co_await send(next, "next");
      EXPECT_EQ(co_await receive(next, 4), "next");
      EXPECT_NE(co_await lookup("web.example"), "");
    }
  }
}

EGRESS_TEST(orders_that_make_no_sense_are_refused) {
  boost::json::object body;
  body["machine"] = "m1-1";
  body["egress"] = boost::json::object{{"layers", 7}};
  auto order = node_->order("machine.egress", body);
  auto refused = co_await std::move(order);
  CO_ASSERT_TRUE(!refused);
  EXPECT_EQ(refused.error().code(), ErrorCode::invalid_argument);
  body["machine"] = "nobody";
  body["egress"] = policy::to_json(internet());
  auto unknown_order = node_->order("machine.egress", body);
  auto unknown = co_await std::move(unknown_order);
  CO_ASSERT_TRUE(!unknown);
  EXPECT_EQ(unknown.error().code(), ErrorCode::not_found);
  boost::json::object add;
  add["machine"] = "m2-1";
  add["address"] = "169.254.0.21";
  add["egress"] = true;
  auto without_order = node_->order("machine.add", add);
  auto without = co_await std::move(without_order);
  EXPECT_FALSE(without);
  std::vector<Fd> swapped;
  auto sockets = network::open_egress(*slot_);
  swapped.push_back(std::move(sockets.value().dns));
  swapped.push_back(std::move(sockets.value().listener));
  auto swapped_order = node_->order("machine.add", add, std::move(swapped));
  auto wrong = co_await std::move(swapped_order);
  EXPECT_FALSE(wrong);
}

}  // namespace
}  // namespace hako::test
