// What the gate does for the ports of a box beside passing bytes: tokens, names, CORS, and services
// that hide on the guest's loopback address.
#include <gmock/gmock.h>

#include "support/gate_fixture.h"
#include "wire/signature.h"

namespace hako::test {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr uint16_t kService = ScriptedGuest::kServicePort;
constexpr uint16_t kHidden = ScriptedGuest::kLoopbackPort;

GATE_TEST(reaches_services_on_the_guests_loopback) {
  auto hidden = request("/x", "box1", kHidden);
  auto response = co_await ask(std::move(hidden));
  EXPECT_EQ(response.body, "service /x 127.0.0.1");
  // Kept alive like any other.
  auto client = co_await this->client();
  for (int i = 0; i < 3; ++i) {
    auto again = request("/y", "box1", kHidden);
    auto answer = co_await client.exchange(std::move(again));
    CO_ASSERT_TRUE(answer);
    EXPECT_EQ(answer.value().body, "service /y 127.0.0.1");
  }
  auto relay = request("/", "box1", 49982);
  auto refused = co_await ask(std::move(relay));
  EXPECT_EQ(refused.status, 502u);
  EXPECT_THAT(refused.body, HasSubstr("port is not open"));
}

GATE_TEST(guests_with_no_relay_or_a_bad_one_have_closed_ports) {
  ScriptedGuest old(ScriptedGuest::Kind::without_relay);
  ScriptedGuest bad(ScriptedGuest::Kind::with_bad_relay);
  CO_ASSERT_TRUE(co_await node_->add("m2-1", old));
  CO_ASSERT_TRUE(co_await node_->publish("m2-1", "old"));
  CO_ASSERT_TRUE(co_await node_->add("m3-1", bad));
  CO_ASSERT_TRUE(co_await node_->publish("m3-1", "bad"));
  for (std::string box : {"old", "bad"}) {
    auto hidden = request("/x", box, kHidden);
    auto closed = co_await ask(std::move(hidden));
    EXPECT_EQ(closed.status, 502u) << box;
    EXPECT_THAT(closed.body, HasSubstr("port is not open")) << box;
    auto open = request("/x", box, kService);
    auto served = co_await ask(std::move(open));
    EXPECT_EQ(served.status, 200u) << box;
  }
}

GATE_TEST(asks_for_the_traffic_token_on_all_but_the_daemons_port) {
  boost::json::object ingress;
  ingress["traffic_token"] = "let-me-in";
  auto publish = node_->publish("m1-1", "box1", "token1", std::move(ingress));
  CO_ASSERT_TRUE(co_await std::move(publish));
  auto without = request("/seen", "box1", kService);
  auto refused = co_await ask(std::move(without));
  EXPECT_EQ(refused.status, 403u);
  EXPECT_THAT(refused.body, HasSubstr(R"("sandboxId":"box1")"));
  auto wrong = request("/seen", "box1", kService);
  wrong.fields.set("e2b-traffic-access-token", "let-me-im");
  auto wrong_answer = co_await ask(std::move(wrong));
  EXPECT_EQ(wrong_answer.status, 403u);
  auto right = request("/seen", "box1", kService);
  right.fields.set("E2B-Traffic-Access-Token", "let-me-in");
  auto served = co_await ask(std::move(right));
  EXPECT_EQ(served.body, "127.0.0.1|||");  // the guest does not see the token
  auto daemon = request("/health");
  auto health = co_await ask(std::move(daemon));
  EXPECT_EQ(health.status, 204u);
  auto relay = request("/", "box1", 49982);
  auto relayed = co_await ask(std::move(relay));
  EXPECT_EQ(relayed.status, 403u);
}

GATE_TEST(ports_that_are_closed_lose_their_connections_and_the_daemon_keeps_its) {
  auto to_service = co_await this->client();
  auto to_hidden = co_await this->client();
  auto to_daemon = co_await this->client();
  auto service = request("/hang", "box1", kService);
  CO_ASSERT_TRUE(co_await to_service.start(std::move(service)));
  auto hidden = request("/hang", "box1", kHidden);
  CO_ASSERT_TRUE(co_await to_hidden.start(std::move(hidden)));
  auto daemon = request("/hang");
  CO_ASSERT_TRUE(co_await to_daemon.start(std::move(daemon)));

  boost::json::object closed{{"machine", "m1-1"}};
  closed["egress"] = boost::json::object();
  closed["ingress"] = boost::json::object{{"traffic_token", "let-me-in"}};
  auto order = node_->order("machine.egress", std::move(closed));
  CO_ASSERT_TRUE(co_await std::move(order));
  char buffer[64];
  for (auto* client : {&to_service, &to_hidden}) {
    auto rest = co_await client->read_some(asio::buffer(buffer));
    while (rest && rest.value() > 0) rest = co_await client->read_some(asio::buffer(buffer));
    EXPECT_FALSE(rest);  // cut, not ended
  }
  EXPECT_EQ(guest_->established_connections(49983), 1);
  auto without = request("/seen", "box1", kService);
  auto refused = co_await ask(std::move(without));
  EXPECT_EQ(refused.status, 403u);
}

GATE_TEST(uploads_with_a_label_are_sent_to_the_api) {
  for (const char* target : {"/files?path=a", "/files?label=secret&path=a", "/echo"}) {
    auto upload = request(target);
    upload.method = http::Verb::post;
    upload.body = "data";
    bool in_query = std::string_view(target).find("label") != std::string_view::npos;
    if (!in_query) upload.fields.set("X-Hako-Label", "secret");
    auto refused = co_await ask(std::move(upload));
    EXPECT_EQ(refused.status, 400u) << target;
    EXPECT_THAT(refused.body, HasSubstr("API's port")) << target;
  }
  // A service may mean something else by it.
  auto service = request("/x?label=y", "box1", kService);
  auto served = co_await ask(std::move(service));
  EXPECT_EQ(served.status, 200u);
}

GATE_TEST(masks_the_host_towards_services) {
  boost::json::object ingress;
  ingress["mask_host"] = "localhost:${PORT}";
  auto publish = node_->publish("m1-1", "box1", "token1", std::move(ingress));
  CO_ASSERT_TRUE(co_await std::move(publish));
  auto by_host = request("/seen", "");
  by_host.fields.set(http::Field::host, "8080-box1.hako.localhost");
  auto seen = co_await ask(std::move(by_host));
  EXPECT_EQ(seen.body, "localhost:8080|8080-box1.hako.localhost||");
}

GATE_TEST(answers_preflights_for_the_daemon) {
  auto preflight = request("/files", "box1");
  preflight.method = http::Verb::options;
  preflight.fields.set("Origin", "https://example.com");
  preflight.fields.set("Access-Control-Request-Method", "POST");
  preflight.fields.set("Access-Control-Request-Headers", "authorization,x-access-token");
  auto answer = co_await ask(std::move(preflight));
  EXPECT_EQ(answer.status, 204u);
  EXPECT_EQ(answer.fields["Access-Control-Allow-Origin"], "*");
  EXPECT_EQ(answer.fields["Access-Control-Allow-Headers"], "authorization,x-access-token");
  auto plain = request("/files", "box1");
  auto files = co_await ask(std::move(plain));
  EXPECT_EQ(files.fields["Access-Control-Allow-Origin"], "*");
  // A signed URL for an upload names its box by nothing else.
  wire::FileGrant grant{"a", "write", "", std::nullopt};
  std::string signature = wire::sign_files(grant, "token1");
  for (size_t at; (at = signature.find_first_of("+/")) != std::string::npos;)
    signature.replace(at, 1, signature[at] == '+' ? "%2B" : "%2F");
  auto upload = request("/files?path=a&signature=" + signature, "");
  upload.method = http::Verb::options;
  upload.fields.set("Origin", "https://example.com");
  upload.fields.set("Access-Control-Request-Method", "POST");
  auto may_upload = co_await ask(std::move(upload));
  EXPECT_EQ(may_upload.status, 204u);
  // A service of the box's own decides for itself.
  auto service = request("/x", "box1", kService);
  auto served = co_await ask(std::move(service));
  EXPECT_EQ(served.fields.count("Access-Control-Allow-Origin"), 0u);
}

GATE_TEST(a_signature_of_no_box_is_refused_as_the_daemon_would) {
  auto altered = request("/files?path=other&signature=v1_AAAA", "");
  auto response = co_await ask(std::move(altered));
  EXPECT_EQ(response.status, 401u);
  EXPECT_THAT(response.body, HasSubstr("invalid signature"));
  auto unsigned_request = request("/files?path=other", "");
  auto unrouted = co_await ask(std::move(unsigned_request));
  EXPECT_EQ(unrouted.status, 400u);
}

GATE_TEST(guessing_signatures_of_no_box_is_bounded) {
  auto client = co_await this->client();
  unsigned status = 0;
  int asked = 0;
  for (; asked < 5000 && status != 429; ++asked) {
    auto guess = request("/files?path=other&signature=v1_AAAA", "");
    auto exchange = client.exchange(std::move(guess));
    auto response = co_await std::move(exchange);
    CO_ASSERT_TRUE(response);
    status = response.value().status;
    EXPECT_TRUE(status == 401u || status == 429u) << status;
  }
  EXPECT_EQ(status, 429u);
  EXPECT_GT(asked, 30);
  // Whoever names the box is not held up by it.
  auto named = request("/files?path=other&signature=v1_AAAA");
  auto served = co_await ask(std::move(named));
  EXPECT_EQ(served.status, 200u);
}

GATE_TEST(keys_of_the_api_stay_outside) {
  const std::string key = "e2b_" + std::string(40, 'a');
  for (int port : {0, int(kService)}) {
    auto keyed = request("/keys", "box1", port);
    keyed.fields.set("X-API-KEY", key);
    keyed.fields.insert("X-API-Key", "another");
    keyed.fields.set("X-Hako-Tenant", "acme");
    auto seen = co_await ask(std::move(keyed));
    EXPECT_EQ(seen.body, port ? "||" : "|");
    auto own = request("/keys", "box1", port);
    own.fields.set("X-API-Key", "sk-of-the-service");
    seen = co_await ask(std::move(own));
    EXPECT_EQ(seen.body, port ? "sk-of-the-service||" : "sk-of-the-service|");
  }
}

GATE_TEST(browsers_get_a_page_without_what_they_could_run) {
  auto page = request("/", "nosuchbox");
  page.fields.set("Sec-Fetch-Mode", "navigate");
  auto answer = co_await ask(std::move(page));
  EXPECT_EQ(answer.status, 502u);
  EXPECT_THAT(std::string(answer.fields["Content-Type"]), HasSubstr("text/html"));
  EXPECT_THAT(answer.body, HasSubstr("The sandbox was not found"));
  EXPECT_THAT(answer.body, Not(HasSubstr("<script")));
}

}  // namespace
}  // namespace hako::test
