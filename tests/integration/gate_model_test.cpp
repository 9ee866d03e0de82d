// Calls of models: reserved before they are made, counted as they are answered, settled at the end.
#include "support/gate_lab_intercept.h"

namespace hako::test {
namespace {

namespace json = boost::json;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr char kStart[] =
    "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{"
    "\"input_tokens\":25,\"cache_read_input_tokens\":7,\"output_tokens\":1}}}\n\n";
constexpr char kEnd[] =
    "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{},\"usage\":{"
    "\"output_tokens\":15}}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";
constexpr char kCall[] =
    R"({"model":"claude-x","max_tokens":100,"stream":true,"messages":[{"role":"user","content":"hi"}]})";

class GateModelTest : public InterceptTest {
 protected:
  void SetUp() override {
    InterceptTest::SetUp();
    paths["/v1/messages"] = [this](http::Exchange& exchange) { return stream(exchange); };
  }

  /// Before the body of a test, whose broker has the plain material.
  void speak(const char* api = "anthropic", bool by_secret = false) {
    broker_->boxes[kBoxName]["hosts"].as_array()[0].as_object()["model"] =
        json::object{{"api", api}, {"by_secret", by_secret}};
  }

  Task<Ran> call(std::string more = {}, std::string body = kCall) {
    std::string arguments = std::string("-w ' %{http_code}' -H 'x-api-key: ") + kPlaceholder +
                            "' -H 'content-type: application/json' -d '" + body + "' " + more +
                            " https://web.example/v1/messages";
    co_return co_await curl(std::move(arguments));
  }

  /// What the gate has told about the call; fails the test after 3 s.
  Task<json::object> settled() {
    for (int tries = 0; tries < 300 && broker_->settled.empty(); ++tries) co_await sleep_for(10ms);
    EXPECT_EQ(broker_->settled.size(), 1u);
    co_return broker_->settled.empty() ? json::object() : broker_->settled[0];
  }

  bool breaks_off_ = false;

 private:
  Task<void> stream(http::Exchange& exchange) {
    http::ResponseHead head;
    head.fields.set(http::Field::content_type, "text/event-stream");
    (void)co_await exchange.begin_with(std::move(head), asio::buffer(kStart, sizeof kStart - 1));
    co_await sleep_for(50ms);
    if (breaks_off_) co_return exchange.abort();
    (void)co_await exchange.write(asio::buffer(kEnd, sizeof kEnd - 1));
    (void)co_await exchange.end();
  }
};

std::string said(const json::object& object, const char* name) {
  auto* value = object.if_contains(name);
  return value ? json::serialize(*value) : "nothing";
}

INTERCEPT_TEST_IN(GateModelTest, a_call_is_reserved_counted_and_settled) {
  speak();
  auto ran = co_await call();
  EXPECT_THAT(ran.output, HasSubstr("message_stop"));
  EXPECT_THAT(ran.output, HasSubstr(" 200"));
  EXPECT_EQ(broker_->reserved.size(), 1u);
  if (broker_->reserved.size() != 1) co_return;
  const auto& reserved = broker_->reserved[0];
  EXPECT_EQ(said(reserved, "box"), "\"box1\"");
  EXPECT_EQ(said(reserved, "host"), "\"web.example\"");
  EXPECT_EQ(said(reserved, "port"), "443");
  EXPECT_EQ(said(reserved, "api"), "\"anthropic\"");
  EXPECT_EQ(said(reserved, "model"), "\"claude-x\"");
  EXPECT_EQ(said(reserved, "stream"), "true");
  EXPECT_EQ(said(reserved, "max_output_tokens"), "100");
  EXPECT_EQ(said(reserved, "answers"), "1");
  EXPECT_EQ(said(reserved, "input_bytes"), std::to_string(sizeof kCall - 1));
  auto settlement = co_await settled();
  EXPECT_EQ(said(settlement, "reservation"), "\"r1\"");
  EXPECT_EQ(said(settlement, "outcome"), "\"ok\"");
  EXPECT_EQ(said(settlement, "requests"), "1");
  EXPECT_EQ(said(settlement, "input_tokens"), "25");
  EXPECT_EQ(said(settlement, "cached_tokens"), "7");
  EXPECT_EQ(said(settlement, "output_tokens"), "15");
  EXPECT_EQ(seen.back().body, kCall);
  EXPECT_EQ(seen.back().fields["x-api-key"], kValue);
  co_await record(R"({"kind":"model","verdict":"allowed","rule":"model claude-x"})");
}

INTERCEPT_TEST_IN(GateModelTest, what_is_not_reserved_does_not_go) {
  speak();
  broker_->refusal = Error(ErrorCode::resource_exhausted, "the box has spent its tokens");
  auto spent = co_await call();
  EXPECT_THAT(spent.output, HasSubstr("the box has spent its tokens"));
  EXPECT_THAT(spent.output, HasSubstr("rate_limit_error"));
  EXPECT_THAT(spent.output, HasSubstr(" 429"));
  broker_->refusal = Error(ErrorCode::permission_denied, "this model is not allowed");
  auto denied = co_await call();
  EXPECT_THAT(denied.output, HasSubstr(" 403"));
  broker_->refusal = Error(ErrorCode::unavailable, "the store is down");
  auto down = co_await call();
  EXPECT_THAT(down.output, HasSubstr(" 503"));
  EXPECT_TRUE(seen.empty());
  EXPECT_TRUE(broker_->settled.empty());
  co_await record(R"({"kind":"model","verdict":"denied","rule":"model claude-x"})");
}

INTERCEPT_TEST_IN(GateModelTest, what_cannot_be_counted_does_not_go) {
  speak();
  auto unknown = co_await curl("-w ' %{http_code}' -d '{}' https://web.example/v1/other");
  EXPECT_THAT(unknown.output, HasSubstr(" 403"));
  auto malformed = co_await call({}, "{\"model\":");
  EXPECT_THAT(malformed.output, HasSubstr(" 400"));
  auto gzip = co_await call("-H 'content-encoding: gzip'");
  EXPECT_THAT(gzip.output, HasSubstr(" 415"));
  auto upgrade = co_await call("-H 'Connection: Upgrade' -H 'Upgrade: websocket'");
  EXPECT_THAT(upgrade.output, HasSubstr(" 403"));
  auto misplaced = co_await call({}, R"({"model":"claude-x","max_tokens":1,"messages":[")" +
                                         std::string(kPlaceholder) + "\"]}");
  EXPECT_THAT(misplaced.output, HasSubstr(" 403"));
  EXPECT_TRUE(seen.empty());
  EXPECT_TRUE(broker_->reserved.empty());
  auto free = co_await curl(std::string("-H 'x-api-key: ") + kPlaceholder +
                            "' https://web.example/v1/models");
  EXPECT_EQ(free.output, "fine\n");
  EXPECT_TRUE(broker_->reserved.empty());
}

INTERCEPT_TEST_IN(GateModelTest, a_call_that_servers_might_read_otherwise_does_not_go) {
  speak();
  // With the longest name that there can be, which is another one to most servers.
  std::string name = "model" + std::string(59, '_');
  auto spelled = co_await call({}, R"({"model":"dear","max_tokens":1,")" + name + R"(":"cheap"})");
  EXPECT_THAT(spelled.output, HasSubstr(" 400"));
  auto charset = co_await call("-H 'content-type:' -H 'Content-Type: application/json; charset=utf-7'");
  EXPECT_THAT(charset.output, HasSubstr(" 403"));
  auto method = co_await call("-H 'X-HTTP-Method-Override: GET'");
  EXPECT_THAT(method.output, HasSubstr(" 403"));
  EXPECT_TRUE(seen.empty());
  EXPECT_TRUE(broker_->reserved.empty());
}

INTERCEPT_TEST_IN(GateModelTest, how_often_an_answer_is_asked_for_is_told) {
  speak("openai");
  paths["/v1/chat/completions"] = [](http::Exchange& exchange) -> Task<void> {
    auto response = http::Response::json(
        200, json::object{{"usage", json::object{{"prompt_tokens", 3}, {"completion_tokens", 4}}}});
    (void)co_await exchange.respond(std::move(response));
  };
  auto ran = co_await curl(std::string("-w ' %{http_code}' -H 'authorization: Bearer ") + kPlaceholder +
                           R"(' -d '{"model":"m","n":128}' https://web.example/v1/chat/completions)");
  EXPECT_THAT(ran.output, HasSubstr(" 200"));
  EXPECT_EQ(broker_->reserved.size(), 1u);
  if (broker_->reserved.size() != 1) co_return;
  EXPECT_EQ(said(broker_->reserved[0], "answers"), "128");
  EXPECT_EQ(said(broker_->reserved[0], "max_output_tokens"), "nothing");
  (void)co_await settled();
}

INTERCEPT_TEST_IN(GateModelTest, a_kept_key_is_the_only_one_where_one_is_kept) {
  speak("anthropic", true);
  auto ran = co_await call();
  EXPECT_THAT(ran.output, HasSubstr(" 200"));
  (void)co_await settled();
  size_t before = seen.size();
  std::string data = std::string("-w ' %{http_code}' -d '") + kCall + "' ";
  const std::string fake = std::string("-H 'x-api-key: ") + kPlaceholder + "' ";
  const std::string others[] = {
      data + "https://web.example/v1/messages",
      data + "-H 'x-api-key: sk-of-somebody-else' https://web.example/v1/messages",
      data + "-H 'Authorization: Bearer sk-of-somebody-else' https://web.example/v1/messages",
      data + fake + "-H 'Authorization: Bearer sk-of-somebody-else' https://web.example/v1/messages",
      data + fake + "-H 'X_API_Key: sk-of-somebody-else' https://web.example/v1/messages",
      data + fake + "'https://web.example/v1/messages?beta=1&key=of-somebody-else'",
      data + fake + "'https://web.example/v1/messages?%6bey=of-somebody-else'",
      "-w ' %{http_code}' -H 'x-api-key: sk-of-somebody-else' https://web.example/v1/models",
  };
  for (std::string arguments : others) {
    auto refused = co_await curl(arguments);
    EXPECT_THAT(refused.output, HasSubstr(" 403")) << arguments;
    EXPECT_THAT(refused.output, HasSubstr("key")) << arguments;
  }
  EXPECT_EQ(seen.size(), before);
  EXPECT_EQ(broker_->reserved.size(), 1u);
  auto beside = co_await curl(data + fake + "'https://web.example/v1/messages?beta=true'");
  EXPECT_THAT(beside.output, HasSubstr(" 200"));
}

INTERCEPT_TEST_IN(GateModelTest, what_of_calls_is_in_memory_at_once_has_a_bound) {
  speak();
  // Two calls that do not end, of nearly the longest that one may be.
  constexpr size_t kLong = 31 << 20;
  std::string head = "POST /v1/messages HTTP/1.1\r\nHost: web.example\r\nContent-Length: " +
                     std::to_string(kLong + 1) + "\r\n\r\n";
  std::vector<http::Stream> open;
  for (int i = 0; i < 3; ++i) open.push_back(co_await connect_tls());
  for (int i = 0; i < 2; ++i) {
    std::string bytes = head + std::string(kLong, ' ');
    co_await say(open[i], std::move(bytes));
  }
  std::string more = kCall + std::string(4 << 20, ' ');
  std::string third = "POST /v1/messages HTTP/1.1\r\nHost: web.example\r\nx-api-key: " +
                      std::string(kPlaceholder) + "\r\nContent-Length: " + std::to_string(more.size()) +
                      "\r\nConnection: close\r\n\r\n" + more;
  co_await say(open[2], third);
  auto crowded = co_await read_for(open[2], std::string(), 20s);
  EXPECT_THAT(crowded, StartsWith("HTTP/1.1 503"));
  EXPECT_THAT(crowded, HasSubstr("under way at the moment"));
  EXPECT_TRUE(broker_->reserved.empty());
  // What is long takes the gate a while; then it answers again.
  for (int tries = 0; tries < 100; ++tries) {
    std::string address = co_await lookup("web.example");
    if (!address.empty()) break;
    co_await sleep_for(100ms);
  }
  // Small ones still fit, and when the long ones have gone, so does this.
  auto small = co_await call();
  EXPECT_THAT(small.output, HasSubstr(" 200"));
  open.clear();
  std::string after;
  for (int tries = 0; tries < 20; ++tries) {
    after = co_await talk_tls(third);
    if (after.starts_with("HTTP/1.1 200")) break;
    co_await sleep_for(100ms);
  }
  EXPECT_THAT(after, StartsWith("HTTP/1.1 200"));
}

INTERCEPT_TEST_IN(GateModelTest, a_call_that_breaks_off_is_settled_with_what_was_said) {
  speak();
  breaks_off_ = true;
  auto ran = co_await call();
  EXPECT_NE(ran.code, 0);
  auto settlement = co_await settled();
  EXPECT_EQ(said(settlement, "outcome"), "\"cut\"");
  EXPECT_EQ(said(settlement, "requests"), "1");
  EXPECT_EQ(said(settlement, "input_tokens"), "25");
}

INTERCEPT_TEST_IN(GateModelTest, a_call_that_failed_and_one_that_says_nothing) {
  speak();
  paths["/v1/messages"] = [](http::Exchange& exchange) -> Task<void> {
    auto response = http::Response::json(529, json::object{{"type", "error"}});
    (void)co_await exchange.respond(std::move(response));
  };
  auto failed = co_await call();
  EXPECT_THAT(failed.output, HasSubstr(" 529"));
  auto settlement = co_await settled();
  EXPECT_EQ(said(settlement, "outcome"), "\"failed\"");
  broker_->settled.clear();
  paths["/v1/messages"] = [](http::Exchange& exchange) -> Task<void> {
    auto response = http::Response::json(200, json::object{{"hello", "world"}});
    (void)co_await exchange.respond(std::move(response));
  };
  auto silent = co_await call();
  EXPECT_THAT(silent.output, HasSubstr(" 200"));
  settlement = co_await settled();
  EXPECT_EQ(said(settlement, "outcome"), "\"uncounted\"");
}

INTERCEPT_TEST_IN(GateModelTest, a_broker_that_is_away_lets_nothing_through_and_hears_of_all) {
  speak();
  paths["/v1/messages"] = [this](http::Exchange& exchange) -> Task<void> {
    // While the call is under way.
    broker_->disconnect();
    auto response = http::Response::json(
        200, json::object{{"type", "message"},
                          {"usage", json::object{{"input_tokens", 3}, {"output_tokens", 4}}}});
    (void)co_await exchange.respond(std::move(response));
  };
  auto ran = co_await call({}, R"({"model":"claude-x","max_tokens":1,"messages":[]})");
  EXPECT_THAT(ran.output, HasSubstr(" 200"));
  auto settlement = co_await settled();
  EXPECT_EQ(said(settlement, "outcome"), "\"ok\"");
  EXPECT_EQ(said(settlement, "output_tokens"), "4");
}

}  // namespace
}  // namespace hako::test
