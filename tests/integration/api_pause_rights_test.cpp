// Who may go on with a paused sandbox, and under which rules.
#include <algorithm>

#include "policy/egress.h"
#include "support/api_pausing.h"

namespace hako::test {
namespace {

using http::Verb;
using store::SandboxState;

using ApiPauseRightsTest = ApiFixture;

TEST_F(ApiPauseRightsTest, APausedOneMakesRoomAndNeedsItAgain) {
  with_api([](ApiLab& lab) -> Task<void> {
    std::string key = put_key(lab, "kacme", "acme", "owner");
    put_quota(lab, "acme", R"({"boxes":1,"diskMB":8192})");
    auto make = [&lab, key] {
      return lab.ask_with_key(Verb::post, "/v2/sandboxes", R"({"templateID":"base"})", key);
    };
    auto first = co_await make();
    expect_reply(first, 201);
    std::string id = member(first.body, "sandboxID");
    expect_reply(co_await make(), 429, "quota.boxes");
    auto paused = co_await lab.ask_with_key(Verb::post, "/sandboxes/" + id + "/pause", "", key);
    expect_reply(paused, 204);
    auto second = co_await make();
    expect_reply(second, 201);
    std::string path = "/v2/sandboxes/" + id + "/connect";
    expect_reply(co_await lab.ask_with_key(Verb::post, path, "{}", key), 429, "quota.boxes");
    EXPECT_EQ(record_of(lab, id)->state, SandboxState::paused);
    std::string other = member(second.body, "sandboxID");
    expect_reply(co_await lab.ask_with_key(Verb::post, "/sandboxes/" + other + "/pause", "", key),
                 204);
    // The disks of both are taken all the time.
    expect_reply(co_await make(), 429, "quota.disk");
    expect_reply(co_await lab.ask_with_key(Verb::post, path, "{}", key), 201);
  });
}

TEST_F(ApiPauseRightsTest, WhatAKeyMayHaveCountsPausedOnes) {
  with_api([](ApiLab& lab) -> Task<void> {
    std::string key = put_key(lab, "kone", "acme", "member", R"({"boxes":1})");
    auto make = [&lab, key] {
      return lab.ask_with_key(Verb::post, "/v2/sandboxes", R"({"templateID":"base"})", key);
    };
    auto first = co_await make();
    std::string id = member(first.body, "sandboxID");
    expect_reply(co_await lab.ask_with_key(Verb::post, "/sandboxes/" + id + "/pause", "", key), 204);
    expect_reply(co_await make(), 429, "key kone.boxes");
    expect_reply(
        co_await lab.ask_with_key(Verb::post, "/v2/sandboxes/" + id + "/connect", "{}", key), 201);
  });
}

TEST_F(ApiPauseRightsTest, AKeyThatIsTakenAwayResumesNothing) {
  with_api([](ApiLab& lab) -> Task<void> {
    std::string maker = put_key(lab, "kmaker", "acme", "member");
    std::string owner = put_key(lab, "kowner", "acme", "owner");
    auto made =
        co_await lab.ask_with_key(Verb::post, "/v2/sandboxes", R"({"templateID":"base"})", maker);
    std::string id = member(made.body, "sandboxID");
    json::value token = made.body.at("envdAccessToken");
    EXPECT_TRUE(takes(lab.node.egress[id].at("ingress").as_object(), token, "sandbox.exec"));
    expect_reply(co_await lab.ask_with_key(Verb::post, "/sandboxes/" + id + "/pause", "", maker),
                 204);
    expect_reply(co_await lab.ask_with_key(Verb::delete_, "/v1/keys/kmaker", "", owner), 204);
    std::string path = "/v2/sandboxes/" + id + "/connect";
    expect_reply(co_await lab.ask_with_key(Verb::post, path, "{}", maker), 401);
    expect_reply(co_await lab.ask_with_key(Verb::post, path, "{}", owner), 201);
    // And its token opens nothing in what goes on.
    EXPECT_FALSE(takes(lab.node.egress[id].at("ingress").as_object(), token, "sandbox.exec"));
  });
}

TEST_F(ApiPauseRightsTest, WhoMayOnlyLookResumesNothing) {
  with_api([](ApiLab& lab) -> Task<void> {
    std::string owner = put_key(lab, "kowner", "acme", "owner");
    std::string viewer = put_key(lab, "kviewer", "acme", "viewer");
    std::string low = put_key(lab, "klow", "acme", "owner", "", "public");
    auto made = co_await lab.ask_with_key(
        Verb::post, "/v2/sandboxes", R"({"templateID":"base","label":"confidential"})", owner);
    std::string id = member(made.body, "sandboxID");
    expect_reply(co_await lab.ask_with_key(Verb::post, "/sandboxes/" + id + "/pause", "", owner),
                 204);
    std::string path = "/v2/sandboxes/" + id + "/connect";
    expect_reply(co_await lab.ask_with_key(Verb::post, path, "{}", viewer), 403, "actions");
    expect_reply(co_await lab.ask_with_key(Verb::post, path, "{}", low), 404);
    EXPECT_EQ(record_of(lab, id)->state, SandboxState::paused);
    expect_reply(co_await lab.ask_with_key(Verb::post, path, "{}", owner), 201);
    auto policy = lab.node.policy_of(id);
    EXPECT_EQ(record_of(lab, id)->label, "confidential");
    bool closed = std::any_of(policy.layers.begin(), policy.layers.end(), [](const auto& layer) {
      return layer.level == policy::EgressLevel::none;
    });
    EXPECT_TRUE(closed);
  });
}

TEST_F(ApiPauseRightsTest, ItGoesOnUnderTheRulesOfToday) {
  with_api([](ApiLab& lab) -> Task<void> {
    std::string owner = put_key(lab, "kowner", "acme", "owner");
    auto made = co_await lab.ask_with_key(Verb::post, "/v2/sandboxes",
                                          R"({"templateID":"base"})", owner);
    std::string id = member(made.body, "sandboxID");
    auto closed = [&lab, id] {
      for (const auto& layer : lab.node.policy_of(id).layers) {
        if (layer.name == "tenant acme" && layer.level == policy::EgressLevel::none) return true;
      }
      return false;
    };
    EXPECT_FALSE(closed());
    expect_reply(co_await lab.ask_with_key(Verb::post, "/sandboxes/" + id + "/pause", "", owner),
                 204);
    expect_reply(co_await lab.ask(Verb::patch, "/v1/tenants/acme",
                                  R"({"policy":{"egress":{"level":"none"}}})"),
                 200);
    expect_reply(
        co_await lab.ask_with_key(Verb::post, "/v2/sandboxes/" + id + "/connect", "{}", owner), 201);
    EXPECT_TRUE(closed());
  });
}

TEST_F(ApiPauseRightsTest, RulesThatChangeWhileItIsResumedHold) {
  with_api([](ApiLab& lab) -> Task<void> {
    std::string id = co_await lab.create();
    expect_reply(co_await pause(lab, id), 204);
    lab.node.created = [&lab, id] {
      auto store = store_of(lab);
      auto record = store->find_sandbox(id).value();
      store::SandboxEgress changed{record->label, record->options, record->egress,
                                   record->traffic_token, "[]"};
      EXPECT_TRUE(store->set_egress(id, changed));
    };
    size_t told = count_calls(lab, "box.egress");
    expect_reply(co_await connect(lab, id), 201);
    // Once for what has changed, and once for whoever has connected.
    EXPECT_EQ(count_calls(lab, "box.egress"), told + 2);
  });
}

TEST_F(ApiPauseRightsTest, ALifeThatIsLimitedIsNoLongerForHavingBeenPaused) {
  with_api([](ApiLab& lab) -> Task<void> {
    std::string key = put_key(lab, "kshort", "acme", "member", R"({"timeout":100})");
    auto made = co_await lab.ask_with_key(Verb::post, "/v2/sandboxes",
                                          R"({"templateID":"base","timeout":100})", key);
    expect_reply(made, 201);
    std::string id = member(made.body, "sandboxID");
    int64_t latest = record_of(lab, id)->started_ms + 100'000;
    expect_reply(co_await lab.ask_with_key(Verb::post, "/sandboxes/" + id + "/pause", "", key), 204);
    std::string path = "/v2/sandboxes/" + id + "/connect";
    expect_reply(co_await lab.ask_with_key(Verb::post, path, R"({"timeout":100})", key), 201);
    EXPECT_LE(lab.node.boxes[id].at("ends_ms").as_int64(), latest);
  });
}

}  // namespace
}  // namespace hako::test
