// Paused sandboxes that requests bring back.
#include "base/clock.h"
#include "rpc/peer.h"
#include "support/api_pausing.h"

namespace hako::test {
namespace {

using http::Verb;
using store::SandboxState;
using namespace std::chrono_literals;

using ApiWakeTest = ApiFixture;

/// A gate, as far as it has to do with boxes that sleep.
class FakeGate {
 public:
  explicit FakeGate(ApiLab& lab) : lab_(lab), tasks_(lab.loop.get_executor()) {}
  Task<void> connect() {
    auto connection = co_await rpc::connect_unix(lab_.config.wake_socket());
    if (!connection) throw std::runtime_error(connection.error().message());
    peer_ = std::make_shared<rpc::Peer>(lab_.loop.get_executor(), std::move(connection.value()));
    rpc::Handler on_add = [this](rpc::Payload payload) { return add(std::move(payload)); };
    rpc::Handler on_remove = [this](rpc::Payload payload) { return remove(std::move(payload)); };
    peer_->on("sleeper.add", std::move(on_add));
    peer_->on("sleeper.remove", std::move(on_remove));
    tasks_.spawn("gate", peer_->run());
  }
  Task<Result<void>> wake(std::string box) {
    rpc::Payload payload;
    payload.body["box"] = box;
    auto answer = co_await peer_->call("box.wake", std::move(payload), 10s);
    if (!answer) co_return answer.error();
    co_return ok();
  }
  Task<bool> knows(std::string box, bool wanted) {
    std::function<bool()> does = [this, box, wanted] { return sleepers.contains(box) == wanted; };
    return ApiLab::eventually(std::move(does));
  }
  Task<void> stop() { co_await tasks_.stop(); }

  std::map<std::string, json::object> sleepers;

 private:
  Task<Result<rpc::Payload>> add(rpc::Payload payload) {
    sleepers[member(payload.body, "box")] = payload.body;
    co_return rpc::Payload();
  }
  Task<Result<rpc::Payload>> remove(rpc::Payload payload) {
    sleepers.erase(member(payload.body, "box"));
    co_return rpc::Payload();
  }

  ApiLab& lab_;
  TaskGroup tasks_;
  std::shared_ptr<rpc::Peer> peer_;
};

constexpr const char* kWakes =
    R"({"templateID":"base","timeout":60,"autoPause":true,"autoResume":{"enabled":true}})";

TEST_F(ApiWakeTest, TrafficBringsBackWhatIsToComeBack) {
  with_api([](ApiLab& lab) -> Task<void> {
    auto made = co_await lab.ask(Verb::post, "/v2/sandboxes", kWakes);
    std::string id = member(made.body, "sandboxID");
    std::string plain = co_await lab.create();
    FakeGate gate(lab);
    co_await gate.connect();
    lab.node.expire(id);
    EXPECT_TRUE(co_await gate.knows(id, true));
    EXPECT_TRUE(takes(gate.sleepers[id].at("ingress").as_object(),
                      made.body.at("envdAccessToken"), "sandbox.exec"));
    expect_reply(co_await pause(lab, plain), 204);
    auto of_plain = co_await gate.wake(plain);
    EXPECT_FALSE(of_plain.has_value());
    auto of_nobody = co_await gate.wake("inobody");
    EXPECT_FALSE(of_nobody.has_value());
    EXPECT_EQ(co_await state_of(lab, plain), "paused");

    auto woken = co_await gate.wake(id);
    EXPECT_TRUE(woken.has_value());
    EXPECT_EQ(co_await state_of(lab, id), "running");
    int64_t left = lab.node.boxes[id].at("ends_ms").as_int64() - to_unix_ms(WallClock::now());
    EXPECT_GT(left, 250'000);  // five minutes, though it was made for one
    EXPECT_TRUE(co_await gate.knows(id, false));
    // One that comes later hears of what sleeps then.
    lab.node.expire(id);
    FakeGate late(lab);
    co_await late.connect();
    EXPECT_TRUE(co_await late.knows(id, true));
    EXPECT_FALSE(late.sleepers.contains(plain));
    expect_reply(co_await lab.ask(Verb::delete_, "/sandboxes/" + id), 204);
    EXPECT_TRUE(co_await late.knows(id, false));
    co_await late.stop();
    co_await gate.stop();
  });
}

TEST_F(ApiWakeTest, WhatSleepsWithoutItsMemoryIsNotWoken) {
  with_api([](ApiLab& lab) -> Task<void> {
    std::string id = co_await lab.create(kWakes);
    FakeGate gate(lab);
    co_await gate.connect();
    expect_reply(co_await pause(lab, id, R"({"memory":false})"), 204);
    auto woken = co_await gate.wake(id);
    EXPECT_FALSE(woken.has_value());
    EXPECT_TRUE(gate.sleepers.empty());
    EXPECT_EQ(co_await state_of(lab, id), "paused");
    co_await gate.stop();
  });
}

TEST_F(ApiWakeTest, NobodyIsWokenInATenantThatIsSuspendedOrFull) {
  with_api([](ApiLab& lab) -> Task<void> {
    std::string owner = put_key(lab, "kowner", "acme", "owner");
    auto made = co_await lab.ask_with_key(Verb::post, "/v2/sandboxes", kWakes, owner);
    std::string id = member(made.body, "sandboxID");
    FakeGate gate(lab);
    co_await gate.connect();
    lab.node.expire(id);
    EXPECT_TRUE(co_await gate.knows(id, true));
    put_quota(lab, "acme", R"({"boxes":0})");
    auto full = co_await gate.wake(id);
    EXPECT_FALSE(full.has_value());
    if (!full) {
      EXPECT_EQ(full.error().code(), ErrorCode::resource_exhausted);
    }
    put_quota(lab, "acme", "");
    expect_reply(co_await lab.ask(Verb::patch, "/v1/tenants/acme", R"({"suspended":true})"), 200);
    auto suspended = co_await gate.wake(id);
    EXPECT_FALSE(suspended.has_value());
    EXPECT_EQ(record_of(lab, id)->state, SandboxState::paused);
    expect_reply(co_await lab.ask(Verb::patch, "/v1/tenants/acme", R"({"suspended":false})"), 200);
    auto woken = co_await gate.wake(id);
    EXPECT_TRUE(woken.has_value());
    co_await gate.stop();
  });
}

TEST_F(ApiWakeTest, AGateHearsWhenAKeyOfASleeperIsTakenAway) {
  with_api([](ApiLab& lab) -> Task<void> {
    std::string maker = put_key(lab, "kmaker", "acme", "member");
    std::string owner = put_key(lab, "kowner", "acme", "owner");
    auto made = co_await lab.ask_with_key(Verb::post, "/v2/sandboxes", kWakes, maker);
    std::string id = member(made.body, "sandboxID");
    json::value token = made.body.at("envdAccessToken");
    FakeGate gate(lab);
    co_await gate.connect();
    lab.node.expire(id);
    EXPECT_TRUE(co_await gate.knows(id, true));
    EXPECT_TRUE(takes(gate.sleepers[id].at("ingress").as_object(), token, "sandbox.exec"));
    expect_reply(co_await lab.ask_with_key(Verb::delete_, "/v1/keys/kmaker", "", owner), 204);
    std::function<bool()> dropped = [&gate, id, token] {
      return !takes(gate.sleepers[id].at("ingress").as_object(), token, "sandbox.exec");
    };
    EXPECT_TRUE(co_await ApiLab::eventually(std::move(dropped)));
    co_await gate.stop();
  });
}

TEST_F(ApiWakeTest, ARequestAtTheApisOwnPortWakesToo) {
  with_api([](ApiLab& lab) -> Task<void> {
    auto made = co_await lab.ask(Verb::post, "/v2/sandboxes", kWakes);
    std::string id = member(made.body, "sandboxID");
    lab.node.expire(id);
    std::function<bool()> asleep = [&lab, id] {
      return record_of(lab, id)->state == SandboxState::paused;
    };
    EXPECT_TRUE(co_await ApiLab::eventually(std::move(asleep)));
    auto knock = [&lab, id](std::string name, std::string value) -> Task<void> {
      auto stream = co_await http::connect_tcp("127.0.0.1", lab.port, 5s);
      http::Client client(std::move(stream.value()));
      http::Request request;
      request.method = Verb::get;
      request.target = "/files?path=a";
      request.fields.set(http::Field::host, "127.0.0.1");
      request.fields.set("E2b-Sandbox-Id", id);
      if (!name.empty()) request.fields.set(name, value);
      // There is no gate behind it: what comes back is that.
      (void)co_await client.exchange(std::move(request));
    };
    co_await knock("", "");
    co_await knock("X-Access-Token", "wrong");
    co_await knock("X-API-KEY", "e2b_" + std::string(40, '0'));
    EXPECT_EQ(record_of(lab, id)->state, SandboxState::paused);
    co_await knock("X-Access-Token", member(made.body, "envdAccessToken"));
    EXPECT_EQ(record_of(lab, id)->state, SandboxState::running);
    expect_reply(co_await pause(lab, id), 204);
    co_await knock("X-API-KEY", lab.key);
    EXPECT_EQ(record_of(lab, id)->state, SandboxState::running);
  });
}

}  // namespace
}  // namespace hako::test
