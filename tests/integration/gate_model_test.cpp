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
  void speak(const char* api = "anthropic") {
    broker_->boxes[kBoxName]["hosts"].as_array()[0].as_object()["model"] =
        json::object{{"api", api}};
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
