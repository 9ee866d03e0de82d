// Boxes that sleep, and requests that wake them.
#include <gmock/gmock.h>

#include "support/gate_fixture.h"

namespace hako::test {
namespace {

using ::testing::HasSubstr;

constexpr uint16_t kService = ScriptedGuest::kServicePort;

boost::json::object ingress_of(std::string token, std::vector<std::string> actions) {
  boost::json::object grant{{"token", token}, {"key", "k1"}};
  grant["actions"] = boost::json::array(actions.begin(), actions.end());
  boost::json::object ingress;
  ingress["grants"] = boost::json::array{std::move(grant)};
  return ingress;
}

/// The API's end of the socket at which gates hear of boxes that sleep.
class SleepersApi {
 public:
  /// What comes of a wake.
  using Wake = std::function<Task<Result<void>>(std::string box)>;

  SleepersApi(const std::string& path, Wake wake) : wake_(std::move(wake)) {
    listener_ = rpc::listen_unix(path, kGateUid).value();
  }
  Task<void> serve() {
    std::function<Task<void>(Fd, uid_t)> accept = [this](Fd connection, uid_t) {
      return serve_one(std::move(connection));
    };
    std::vector<uid_t> allowed{kGateUid};
    co_await rpc::accept_peers(std::move(listener_), std::move(allowed), std::move(accept));
  }
  Task<bool> eventually(std::function<bool()> holds) {
    for (int i = 0; i < 5000 && !holds(); ++i) co_await sleep_for(2ms);
    co_return holds();
  }
  Task<bool> connected() {
    std::function<bool()> has = [this] { return peer_ != nullptr; };
    return eventually(std::move(has));
  }
  void add(std::string box, std::string token, boost::json::object ingress) {
    rpc::Payload payload;
    payload.body["box"] = box;
    if (!token.empty()) payload.body["access_token"] = token;
    payload.body["ingress"] = std::move(ingress);
    EXPECT_TRUE(peer_->tell("sleeper.add", std::move(payload)));
  }
  void remove(std::string box) {
    rpc::Payload payload;
    payload.body["box"] = box;
    EXPECT_TRUE(peer_->tell("sleeper.remove", std::move(payload)));
  }
  void disconnect() { peer_->close(); }

  int wakes = 0;
  std::vector<std::string> woken;

 private:
  Task<void> serve_one(Fd connection) {
    auto peer = std::make_shared<rpc::Peer>(co_await asio::this_coro::executor,
                                            std::move(connection));
    rpc::Handler on_wake = [this](rpc::Payload payload) { return take(std::move(payload)); };
    peer->on("box.wake", std::move(on_wake));
    peer_ = peer;
    co_await peer->run();
    if (peer_ == peer) peer_ = nullptr;
  }
  Task<Result<rpc::Payload>> take(rpc::Payload payload) {
    std::string box(payload.body.at("box").as_string());
    ++wakes;
    woken.push_back(box);
    HAKO_CO_TRYV(co_await wake_(box));
    co_return rpc::Payload();
  }

  Fd listener_;
  Wake wake_;
  std::shared_ptr<rpc::Peer> peer_;
};

class GateSleepersTest : public GateTest {
 protected:
  /// As the node publishes the machine of a box that has been resumed.
  Task<Result<void>> resume(std::string box) {
    co_await sleep_for(50ms);
    auto added = co_await node_->add("m2-1", *guest_);
    if (!added) co_return added.error();
    auto ingress = ingress_of("grant-one", {"sandbox.exec", "files.read", "sandbox.ports"});
    auto published = co_await node_->publish("m2-1", box, "token1", std::move(ingress));
    if (!published) co_return published.error();
    co_return ok();
  }
  static http::Request asked(std::string box, std::string token, std::string target = "/files") {
    auto request = GateTest::request(std::move(target), std::move(box));
    if (!token.empty()) request.fields.set("X-Access-Token", token);
    return request;
  }
  /// Until the gate has heard what it was told: answers come in order of nothing else.
  Task<bool> answers(std::string box, std::string token, unsigned status) {
    for (int i = 0; i < 500; ++i) {
      auto response = co_await ask(asked(box, token));
      if (response.status == status) co_return true;
      co_await sleep_for(10ms);
    }
    co_return false;
  }
};

GATE_TEST_IN(GateSleepersTest, ARequestThatMayComeInWakesABox) {
  SleepersApi::Wake wake = [this](std::string box) { return resume(std::move(box)); };
  SleepersApi api(directory_ + "/wake.sock", std::move(wake));
  TaskGroup tasks(co_await asio::this_coro::executor);
  tasks.spawn("api", api.serve());
  CO_ASSERT_TRUE(co_await api.connected());
  // Nothing sleeps yet, and what nobody knows is not asked for.
  auto unknown = co_await ask(asked("box2", "grant-one"));
  EXPECT_EQ(unknown.status, 502u);
  api.add("box2", "token1", ingress_of("grant-one", {"sandbox.exec", "files.read"}));
  // A wrong token is refused as by one that runs; without one it does not seem to be there.
  EXPECT_TRUE(co_await answers("box2", "wrong", 401));
  auto health = co_await ask(asked("box2", "", "/health"));
  EXPECT_EQ(health.status, 502u);
  EXPECT_THAT(health.body, HasSubstr("The sandbox was not found"));
  auto wrong_action = asked("box2", "grant-one", "/files?path=x");
  wrong_action.method = http::Verb::post;
  auto not_good_for = co_await ask(std::move(wrong_action));
  EXPECT_EQ(not_good_for.status, 403u);
  EXPECT_EQ(api.wakes, 0);

  // Many at once share one, and all are served by what has woken.
  int served = 0;
  auto one = [](GateSleepersTest_ARequestThatMayComeInWakesABox& test, int& served) -> Task<void> {
    auto response = co_await test.ask(asked("box2", "grant-one", "/health"));
    if (response.status < 300) ++served;
  };
  TaskGroup clients(co_await asio::this_coro::executor);
  for (int i = 0; i < 8; ++i) clients.spawn("client", one(*this, served));
  std::function<bool()> all = [&served] { return served == 8; };
  EXPECT_TRUE(co_await api.eventually(std::move(all)));
  EXPECT_EQ(api.wakes, 1);
  EXPECT_EQ(api.woken, std::vector<std::string>{"box2"});
  co_await clients.stop();
  co_await tasks.stop();
}

GATE_TEST_IN(GateSleepersTest, PortsWakeByTheirTokenOnly) {
  SleepersApi::Wake wake = [this](std::string box) { return resume(std::move(box)); };
  SleepersApi api(directory_ + "/wake.sock", std::move(wake));
  TaskGroup tasks(co_await asio::this_coro::executor);
  tasks.spawn("api", api.serve());
  CO_ASSERT_TRUE(co_await api.connected());
  boost::json::object closed = ingress_of("grant-one", {"sandbox.ports"});
  closed["traffic_token"] = "ticket";
  api.add("box2", "token1", std::move(closed));
  EXPECT_TRUE(co_await answers("box2", "wrong", 401));
  auto refused = co_await ask(request("/", "box2", kService));
  EXPECT_EQ(refused.status, 403u);
  // The relay inside of guests is nobody's to wake.
  auto relay = request("/", "box2", 49982);
  relay.fields.set("e2b-traffic-access-token", "grant-one");
  auto not_there = co_await ask(std::move(relay));
  EXPECT_EQ(not_there.status, 502u);
  EXPECT_EQ(api.wakes, 0);
  auto let_in = request("/", "box2", kService);
  let_in.fields.set("e2b-traffic-access-token", "grant-one");
  auto served = co_await ask(std::move(let_in));
  EXPECT_LT(served.status, 300u);
  EXPECT_EQ(api.wakes, 1);
  co_await tasks.stop();
}

GATE_TEST_IN(GateSleepersTest, WhatCannotBeWokenSaysWhyAndIsNotAskedForAgainAtOnce) {
  auto code = std::make_shared<ErrorCode>(ErrorCode::resource_exhausted);
  SleepersApi::Wake wake = [code](std::string) -> Task<Result<void>> {
    co_return Error(*code, "the tenant's quota is used up").with_retry_after(std::chrono::seconds(17));
  };
  SleepersApi api(directory_ + "/wake.sock", std::move(wake));
  TaskGroup tasks(co_await asio::this_coro::executor);
  tasks.spawn("api", api.serve());
  CO_ASSERT_TRUE(co_await api.connected());
  api.add("box2", "token1", ingress_of("grant-one", {"sandbox.exec", "files.read"}));
  EXPECT_TRUE(co_await answers("box2", "wrong", 401));
  for (int i = 0; i < 5; ++i) {
    auto full = co_await ask(asked("box2", "grant-one"));
    EXPECT_EQ(full.status, 429u);
    EXPECT_THAT(full.body, HasSubstr("quota"));
    EXPECT_EQ(full.fields["Retry-After"], "17");
  }
  // Five quick ones: a second has at most begun anew once.
  EXPECT_LE(api.wakes, 2);
  *code = ErrorCode::not_found;
  EXPECT_TRUE(co_await answers("box2", "grant-one", 502));
  api.remove("box2");
  EXPECT_TRUE(co_await answers("box2", "wrong", 502));
  co_await tasks.stop();
}

GATE_TEST_IN(GateSleepersTest, WithoutTheApiNothingSleeps) {
  SleepersApi::Wake wake = [this](std::string box) { return resume(std::move(box)); };
  std::optional<SleepersApi> api(std::in_place, directory_ + "/wake.sock", std::move(wake));
  TaskGroup tasks(co_await asio::this_coro::executor);
  tasks.spawn("api", api->serve());
  CO_ASSERT_TRUE(co_await api->connected());
  api->add("box2", "token1", ingress_of("grant-one", {"files.read"}));
  EXPECT_TRUE(co_await answers("box2", "wrong", 401));
  co_await tasks.stop();
  EXPECT_TRUE(co_await answers("box2", "wrong", 502));
}

}  // namespace
}  // namespace hako::test
