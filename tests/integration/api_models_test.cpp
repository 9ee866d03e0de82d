// What users see of budgets for models, and what a gate is told at the api's own socket.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "api/model_terms.h"
#include "base/async/task_group.h"
#include "base/clock.h"
#include "store/models.h"
#include "store/store.h"
#include "support/api_lab.h"
#include "support/broker_client.h"
#include "support/run_task.h"

namespace hako::api {
namespace {

using namespace std::chrono_literals;
using Gate = test::BrokerClient;

class ModelsApi : public ::testing::Test {
 protected:
  void run(std::function<Task<void>()> body) {
    auto work = [&]() -> Task<void> {
      co_await lab.start();
      co_await body();
      co_await lab.stop();
    };
    test::run_on(lab.loop, work());
  }
  /// One call of a box that has ended.
  void spend(const std::string& box, const std::string& tenant, const std::string& key_id,
             const std::string& id) {
    auto opened = store::open_sqlite_store(lab.config.database());
    ASSERT_TRUE(opened);
    store::ModelStore& store = opened.value()->models();
    ASSERT_TRUE(store.reserve(box, [&](const auto&, const auto&) {
      store::ModelReservation made;
      made.id = id, made.box = box, made.tenant = tenant, made.key_id = key_id, made.model = "m";
      return Result<store::ModelReservation>(made);
    }));
    ASSERT_TRUE(store.settle(id, to_unix_ms(WallClock::now()), [](const auto&) {
      store::ModelSettlement settlement{.outcome = "ok", .requests = 1};
      settlement.told = {.input = 10, .output = 5};
      settlement.told_microusd = 7;
      return Result<store::ModelSettlement>(settlement);
    }));
  }
  /// {group: requests} as text.
  static std::string groups(const test::Reply& reply) {
    std::string text;
    if (reply.status != 200) return "status " + std::to_string(reply.status);
    for (const auto& row : reply.body.at("usage").as_array()) {
      text += std::string(row.at("group").as_string()) + "=" +
              std::to_string(row.at("requests").as_int64()) + " ";
    }
    return text;
  }
  test::ApiLab lab;
};

using http::Verb;

TEST_F(ModelsApi, UsageIsTheTenantsOwn) {
  run([&]() -> Task<void> {
    std::string mine = co_await lab.create();
    auto made = co_await lab.ask(Verb::post, "/v1/tenants", R"({"name":"acme"})");
    EXPECT_EQ(made.status, 201u);
    auto created = co_await lab.ask_in("acme", Verb::post, "/v2/sandboxes", R"({"templateID":"base"})");
    EXPECT_EQ(created.status, 201u);
    std::string theirs(created.body.at("sandboxID").as_string());
    spend(mine, "default", "operator", "r1");
    spend(theirs, "acme", "operator", "r2");
    spend(theirs, "acme", "operator", "r3");
    auto all = co_await lab.ask(Verb::get, "/v1/usage?by=tenant&allTenants=true");
    EXPECT_EQ(groups(all), "acme=2 default=1 ");
    auto own = co_await lab.ask(Verb::get, "/v1/usage?by=sandbox");
    EXPECT_EQ(groups(own), mine + "=1 ");
    auto in_acme = co_await lab.ask_in("acme", Verb::get, "/v1/usage");
    EXPECT_EQ(groups(in_acme), "=2 ");
    const auto& row = in_acme.body.at("usage").at(0);
    EXPECT_EQ(row.at("inputTokens"), 20);
    EXPECT_EQ(row.at("outputTokens"), 10);
    EXPECT_EQ(row.at("microUSD"), 14);

    auto keyed = co_await lab.ask_in("acme", Verb::post, "/v1/keys", R"({"role":"owner"})");
    EXPECT_EQ(keyed.status, 201u) << keyed.message();
    std::string key(keyed.body.at("key").as_string());
    auto owner = co_await lab.ask_with_key(Verb::get, "/v1/usage?by=sandbox", "", key);
    EXPECT_EQ(groups(owner), theirs + "=2 ");
    auto beyond = co_await lab.ask_with_key(Verb::get, "/v1/usage?allTenants=true", "", key);
    EXPECT_EQ(beyond.status, 403u);
    for (const char* wrong : {"by=x", "from=yesterday", "to=2026-13-01", "allTenants=1"}) {
      auto refused = co_await lab.ask(Verb::get, std::string("/v1/usage?") + wrong);
      EXPECT_EQ(refused.status, 400u) << wrong;
    }
  });
}

TEST_F(ModelsApi, TheSwitchStopsATenantOrAll) {
  run([&]() -> Task<void> {
    auto made = co_await lab.ask(Verb::post, "/v1/tenants", R"({"name":"acme"})");
    EXPECT_EQ(made.status, 201u);
    auto keyed = co_await lab.ask_in("acme", Verb::post, "/v1/keys", R"({"role":"owner"})");
    std::string key(keyed.body.at("key").as_string());
    auto stopped = co_await lab.ask_with_key(Verb::post, "/v1/models/stop", R"({"reason":"too dear"})", key);
    EXPECT_EQ(stopped.status, 204u) << stopped.message();
    auto all = co_await lab.ask_with_key(Verb::post, "/v1/models/stop", R"({"tenant":""})", key);
    EXPECT_EQ(all.status, 403u);
    auto other = co_await lab.ask_with_key(Verb::post, "/v1/models/start", R"({"tenant":"default"})", key);
    EXPECT_EQ(other.status, 403u);
    auto unknown = co_await lab.ask(Verb::post, "/v1/models/stop", R"({"tenant":"nobody"})");
    EXPECT_EQ(unknown.status, 404u);
    auto platform = co_await lab.ask(Verb::post, "/v1/models/stop", R"({"tenant":""})");
    EXPECT_EQ(platform.status, 204u);

    auto seen = co_await lab.ask_with_key(Verb::get, "/v1/models", "", key);
    EXPECT_EQ(seen.status, 200u);
    EXPECT_EQ(seen.body.at("stopped").as_array().size(), 2u);
    EXPECT_EQ(seen.body.at("stopped").at(1).at("reason"), "too dear");
    auto started = co_await lab.ask(Verb::post, "/v1/models/start", R"({"tenant":""})");
    EXPECT_EQ(started.status, 204u);
    auto own = co_await lab.ask_with_key(Verb::post, "/v1/models/start", "", key);
    EXPECT_EQ(own.status, 204u);
    auto after = co_await lab.ask(Verb::get, "/v1/models");
    EXPECT_TRUE(after.body.at("stopped").as_array().empty());
  });
}

TEST_F(ModelsApi, WhatABoxMayCallIsWrittenDownWithIt) {
  run([&]() -> Task<void> {
    auto minted = co_await lab.ask(Verb::post, "/v1/tokens",
                                   R"({"actions":["sandbox.create","sandbox.read"],"modelTokens":9})");
    EXPECT_EQ(minted.status, 201u) << minted.message();
    std::string token(minted.body.at("token").as_string());
    auto created = co_await lab.ask_with_key(
        Verb::post, "/v2/sandboxes",
        R"({"templateID":"base","models":{"allow":["claude-*"],"requests":5}})", token);
    EXPECT_EQ(created.status, 201u) << created.message();
    auto wrong = co_await lab.ask(Verb::post, "/v2/sandboxes",
                                  R"({"templateID":"base","models":{"request":5}})");
    EXPECT_EQ(wrong.status, 400u);
    auto opened = store::open_sqlite_store(lab.config.database());
    std::string id(created.body.at("sandboxID").as_string());
    auto record = opened.value()->find_sandbox(id).value();
    auto terms = model_terms_of(record->options);
    CO_ASSERT_TRUE(terms);
    EXPECT_EQ(terms.value().box.model_requests, 5);
    CO_ASSERT_TRUE(terms.value().caveats.size() == 1);
    EXPECT_EQ(terms.value().caveats[0].leaves.model_tokens, 9);
    EXPECT_FALSE(terms.value().caveats[0].budget.empty());
  });
}

/// From a gate on the api's own socket to the switch that its users throw.
TEST_F(ModelsApi, AGateAsksAtTheBrokersSocket) {
  lab.config.models_file =
      std::filesystem::path(lab.config.state_dir).parent_path() / "models.toml";
  std::ofstream(lab.config.models_file) << "[[endpoint]]\nhost = \"llm.example\"\n"
                                           "api = \"anthropic\"\n[price.m]\ninput = 3\n"
                                           "output = 10\n[[endpoint]]\nhost = \"llm.example\"\n"
                                           "port = 8443\napi = \"openai\"\nsecret = \"key\"\n"
                                           "label = \"confidential\"\n";
  lab.config.egress.ceiling = policy::EgressLevel::internet;
  run([&]() -> Task<void> {
    auto created = co_await lab.ask(Verb::post, "/v2/sandboxes",
                                    R"({"templateID":"base","egress":"internet","models":{"requests":2}})");
    EXPECT_EQ(created.status, 201u) << created.message();
    std::string box(created.body.at("sandboxID").as_string());
    // Its calls must end at the gate, whatever it holds.
    auto policy = lab.node.policy_of(box);
    CO_ASSERT_TRUE(policy.intercept.size() == 1);
    EXPECT_EQ(policy.intercept[0].host, "llm.example");
    EXPECT_EQ(policy.intercept[0].ports, (std::set<uint16_t>{443, 8443}));

    auto executor = co_await asio::this_coro::executor;
    TaskGroup tasks(executor);
    auto connection = co_await rpc::connect_unix(lab.config.broker_socket());
    CO_ASSERT_TRUE(connection);
    Gate gate(executor, std::move(connection.value()));
    tasks.spawn("gate", gate.peer.run());
    // Each of them as what it is.
    rpc::Payload named;
    named.body["box"] = box;
    auto material = co_await gate.peer.call("intercept.get", std::move(named), 30s);
    CO_ASSERT_TRUE(material);
    const auto& hosts = material.value().body.at("hosts").as_array();
    CO_ASSERT_TRUE(hosts.size() == 2);
    EXPECT_EQ(boost::json::serialize(hosts[0].at("model")), R"({"api":"anthropic","by_secret":false})");
    EXPECT_EQ(boost::json::serialize(hosts[1].at("model")), R"({"api":"openai","by_secret":true})");
    // Confidential data may go to the one that is called by a kept key, and nowhere else.
    auto confidential = [&](std::string label, std::string target) -> Task<unsigned> {
      auto asked = co_await lab.ask(Verb::post, "/v2/sandboxes",
                                    R"({"templateID":"base","egress":"allow","label":")" + label +
                                        R"(","allow":[")" + target + "\"]}");
      co_return asked.status;
    };
    EXPECT_EQ(co_await confidential("confidential", "llm.example:8443"), 201u);
    EXPECT_EQ(co_await confidential("confidential", "llm.example:443"), 403u);
    EXPECT_EQ(co_await confidential("secret", "llm.example:8443"), 403u);

    auto first = co_await gate.reserve(box);
    CO_ASSERT_TRUE(first);
    wire::ModelUsage usage{.input_tokens = 11, .output_tokens = 5};
    CO_ASSERT_TRUE(co_await gate.settle(first.value(), "ok", usage));
    auto shown = co_await lab.ask(Verb::get, "/v1/usage?by=model");
    EXPECT_EQ(groups(shown), "m=1 ");
    EXPECT_EQ(shown.body.at("usage").at(0).at("microUSD"), 33 + 50);

    auto stopped = co_await lab.ask(Verb::post, "/v1/models/stop", R"({"tenant":"","reason":"a test"})");
    EXPECT_EQ(stopped.status, 204u);
    auto refused = co_await gate.reserve(box);
    EXPECT_EQ(refused.error().code(), ErrorCode::permission_denied);
    EXPECT_EQ(refused.error().message(), "calls of models are stopped: a test");
    auto started = co_await lab.ask(Verb::post, "/v1/models/start", R"({"tenant":""})");
    EXPECT_EQ(started.status, 204u);
    CO_ASSERT_TRUE(co_await gate.reserve(box));
    auto spent = co_await gate.reserve(box);
    EXPECT_EQ(spent.error().code(), ErrorCode::resource_exhausted);
    EXPECT_NE(spent.error().message().find("sandbox " + box), std::string::npos);

    co_await lab.stop_api();
    auto gone = co_await gate.reserve(box);
    EXPECT_EQ(gone.error().code(), ErrorCode::unavailable);
    co_await tasks.stop();
  });
}

}  // namespace
}  // namespace hako::api
