// Who is let into sandboxes, and what tenants, keys and tokens leave of what these may reach.
#include "api/token_keys.h"
#include "policy/egress.h"
#include "support/api_fixture.h"
#include "wire/macaroon.h"

namespace hako::test {
namespace {

using http::Verb;

using ApiAccessTest = ApiOpenFixture;

constexpr const char* kBase = R"({"templateID":"base","timeout":60})";

/// What the gate was last told of a box.
json::object ingress_of(ApiLab& lab, const std::string& id) {
  return lab.node.egress.at(id).at("ingress").as_object();
}

bool reaches(ApiLab& lab, const std::string& id) {
  policy::Destination place{.name = "a.example", .port = 443};
  return policy::may_connect(lab.node.policy_of(id), place).allowed;
}

std::string id_of(const Reply& made) {
  if (made.status != 201) throw std::runtime_error(made.message());
  return std::string(made.body.at("sandboxID").as_string());
}

TEST_F(ApiAccessTest, EachHolderHasATokenOfTheirOwnAndKeepsItOverARestart) {
  with_api([](ApiLab& lab) -> Task<void> {
    auto made = co_await lab.ask(Verb::post, "/v2/sandboxes", kBase);
    std::string id = id_of(made), path = "/sandboxes/" + id_of(made);
    json::value own = made.body.at("envdAccessToken");
    std::string reader = co_await mint(lab, lab.key, R"({"actions":["files.read"]})");
    auto seen = co_await lab.ask_with_key(Verb::post, "/v1/policy/explain",
                                          R"({"action":"files.read","box":")" + id + "\"}", reader);
    EXPECT_EQ(seen.body.at("allowed"), true);
    // One that may only read is given one that can only read.
    std::string both =
        co_await mint(lab, lab.key, R"({"actions":["files.read","sandbox.read"]})");
    auto shown = co_await lab.ask_with_key(Verb::get, path, "", both);
    json::value narrow = shown.body.at("envdAccessToken");
    EXPECT_NE(narrow, own);
    EXPECT_TRUE(takes(ingress_of(lab, id), narrow, "files.read"));
    EXPECT_FALSE(takes(ingress_of(lab, id), narrow, "files.write"));
    EXPECT_FALSE(takes(ingress_of(lab, id), narrow, "sandbox.exec"));
    // To be let in is not to decide about its life.
    auto ends = shown.body.at("endAt");
    auto joined =
        co_await lab.ask_with_key(Verb::post, path + "/connect", R"({"timeout":600})", both);
    EXPECT_EQ(joined.body.at("envdAccessToken"), narrow);
    EXPECT_EQ((co_await lab.ask(Verb::get, path)).body.at("endAt"), ends);
    auto watcher = co_await make_key(lab, "default", R"({"role":"viewer"})");
    auto without = co_await lab.ask_with_key(Verb::get, path, "", watcher.key);
    EXPECT_EQ(without.status, 200u);
    EXPECT_FALSE(without.body.as_object().contains("envdAccessToken"));

    co_await lab.stop_api();
    EXPECT_TRUE(co_await lab.start_api());
    EXPECT_TRUE(co_await lab.eventually_status(path, 200));
    EXPECT_EQ((co_await lab.ask(Verb::get, path)).body.at("envdAccessToken"), own);
    shown = co_await lab.ask_with_key(Verb::get, path, "", both);
    EXPECT_EQ(shown.body.at("envdAccessToken"), narrow);
    EXPECT_TRUE(takes(ingress_of(lab, id), own, "sandbox.exec"));
  });
}

TEST_F(ApiAccessTest, WhatWasGivenGoesWithARevokedTokenAndItAlone) {
  with_api([](ApiLab& lab) -> Task<void> {
    auto made = co_await lab.ask(Verb::post, "/v2/sandboxes", kBase);
    std::string id = id_of(made), path = "/sandboxes/" + id_of(made);
    std::string token = co_await mint(lab, lab.key, R"({"label":"internal"})");
    auto given = (co_await lab.ask_with_key(Verb::get, path, "", token)).body.at("envdAccessToken");
    EXPECT_TRUE(takes(ingress_of(lab, id), given, "sandbox.exec"));
    auto revoked =
        co_await lab.ask(Verb::post, "/v1/tokens/revoke", R"({"token":")" + token + "\"}");
    EXPECT_EQ(revoked.status, 204u) << revoked.message();
    EXPECT_FALSE(takes(ingress_of(lab, id), given, "sandbox.exec"));
    EXPECT_TRUE(takes(ingress_of(lab, id), made.body.at("envdAccessToken"), "sandbox.exec"));
    EXPECT_EQ((co_await lab.ask_with_key(Verb::get, path, "", token)).status, 401u);
  });
}

/// The node is away when the key goes: it hears of it when it is back.
TEST_F(ApiAccessTest, WhatCannotBeToldToTheGateIsToldLater) {
  with_api([](ApiLab& lab) -> Task<void> {
    auto key = co_await make_key(lab, "default", R"({"role":"member"})");
    auto made = co_await lab.ask_with_key(Verb::post, "/v2/sandboxes", kBase, key.key);
    std::string id = id_of(made);
    json::value given = made.body.at("envdAccessToken");
    lab.node.before = [](const std::string& method, const json::object&) {
      std::optional<FakeNode::Answer> answer;
      if (method == "box.egress") answer = Error(ErrorCode::timed_out, "the gate is not there");
      return answer;
    };
    EXPECT_EQ((co_await lab.ask(Verb::delete_, "/v1/keys/" + key.id)).status, 204u);
    EXPECT_TRUE(takes(ingress_of(lab, id), given, "sandbox.exec"));
    lab.node.before = nullptr;
    co_await lab.stop_api();
    EXPECT_TRUE(co_await lab.start_api());
    std::function<bool()> gone = [&] { return !takes(ingress_of(lab, id), given, "sandbox.exec"); };
    EXPECT_TRUE(co_await lab.eventually(std::move(gone)));
  });
}

/// Records of before grants were known: their clients go on with the tokens that they have.
TEST_F(ApiAccessTest, TokensOfAnOlderVersionGoOnUntilTheirKeyChanges) {
  with_api([](ApiLab& lab) -> Task<void> {
    auto key = co_await make_key(lab, "default", R"({"role":"member"})");
    std::string body =
        R"({"templateID":"base","timeout":60,"network":{"allowPublicTraffic":false}})";
    auto made = co_await lab.ask_with_key(Verb::post, "/v2/sandboxes", body, key.key);
    std::string id = id_of(made);
    json::value guests = lab.node.last_create.at("access_token");
    json::value ports = lab.node.last_create.at("ingress").at("traffic_token");
    co_await lab.stop_api();
    run_sql(lab, "UPDATE sandboxes SET grants = ''");
    EXPECT_TRUE(co_await lab.start_api());
    std::function<bool()> told = [&] { return takes(ingress_of(lab, id), guests, "files.write"); };
    EXPECT_TRUE(co_await lab.eventually(std::move(told)));
    EXPECT_EQ(ingress_of(lab, id).at("traffic_token"), ports);

    EXPECT_EQ((co_await lab.ask(Verb::delete_, "/v1/keys/" + key.id)).status, 204u);
    EXPECT_FALSE(takes(ingress_of(lab, id), guests, "files.write"));
    EXPECT_NE(ingress_of(lab, id).at("traffic_token"), ports);
  });
}

TEST_F(ApiAccessTest, NobodyOpensWhatTheirTokenCloses) {
  with_api([](ApiLab& lab) -> Task<void> {
    std::string closed = co_await mint(lab, lab.key, R"({"egress":{"level":"none"}})");
    std::string open_box = R"({"templateID":"base","timeout":60,"egress":"internet"})";
    auto refused = co_await lab.ask_with_key(Verb::post, "/v2/sandboxes", open_box, closed);
    EXPECT_EQ(refused.status, 403u);
    EXPECT_NE(refused.message().find(".egress)"), std::string::npos) << refused.message();
    // What E2B's clients ask for unasked is cut down.
    auto made = co_await lab.ask_with_key(
        Verb::post, "/v2/sandboxes",
        R"({"templateID":"base","timeout":60,"allow_internet_access":true})", closed);
    std::string id = id_of(made), network = "/sandboxes/" + id_of(made) + "/network";
    EXPECT_FALSE(reaches(lab, id));
    // It stays closed for whoever changes it later.
    std::string all = R"({"allow_internet_access":true})";
    EXPECT_EQ((co_await lab.ask(Verb::put, network, all)).status, 204u);
    EXPECT_FALSE(reaches(lab, id));

    auto wide = co_await lab.ask(Verb::post, "/v2/sandboxes", open_box);
    id = id_of(wide), network = "/sandboxes/" + id_of(wide) + "/network";
    EXPECT_TRUE(reaches(lab, id));
    EXPECT_EQ((co_await lab.ask_with_key(Verb::put, network, all, closed)).status, 204u);
    EXPECT_FALSE(reaches(lab, id));
    EXPECT_EQ((co_await lab.ask(Verb::put, network, R"({"egress":"internet"})")).status, 204u);
    EXPECT_TRUE(reaches(lab, id));
  });
}

TEST_F(ApiAccessTest, ATenantsPolicyFollowsItsSandboxes) {
  with_api([](ApiLab& lab) -> Task<void> {
    EXPECT_EQ((co_await lab.ask(Verb::post, "/v1/tenants", R"({"name":"acme"})")).status, 201u);
    std::string open_box = R"({"templateID":"base","timeout":60,"egress":"internet"})";
    std::string id = id_of(co_await lab.ask_in("acme", Verb::post, "/v2/sandboxes", open_box));
    EXPECT_TRUE(reaches(lab, id));
    auto closed = co_await lab.ask(Verb::patch, "/v1/tenants/acme",
                                   R"({"policy":{"egress":{"level":"none"}}})");
    EXPECT_EQ(closed.status, 200u);
    std::function<bool()> follows = [&] { return !reaches(lab, id); };
    EXPECT_TRUE(co_await lab.eventually(std::move(follows)));
    auto refused = co_await lab.ask_in("acme", Verb::post, "/v2/sandboxes", open_box);
    EXPECT_EQ(refused.status, 403u);
    EXPECT_EQ((co_await lab.ask(Verb::post, "/v2/sandboxes", open_box)).status, 201u);
  });
}

TEST_F(ApiAccessTest, SandboxesCountAgainstTheVeryTokenAndThoseNarrowedFromIt) {
  with_api([](ApiLab& lab) -> Task<void> {
    std::string two = co_await mint(lab, lab.key, R"({"boxes":2})");
    auto parsed = wire::parse_macaroon(two);
    CO_ASSERT_TRUE(parsed);
    std::string one = wire::to_string(wire::narrow(parsed.value(), "boxes <= 1").value());
    auto create = [&](std::string with) {
      return lab.ask_with_key(Verb::post, "/v2/sandboxes", kBase, std::move(with));
    };
    std::string first = id_of(co_await create(one));
    auto refused = co_await create(one);
    EXPECT_EQ(refused.status, 429u);
    EXPECT_NE(refused.message().find(".boxes)"), std::string::npos) << refused.message();
    EXPECT_EQ(refused.fields.count("Retry-After"), 1u);
    EXPECT_EQ((co_await create(two)).status, 201u);
    EXPECT_EQ((co_await create(two)).status, 429u);
    EXPECT_EQ((co_await lab.ask(Verb::post, "/v2/sandboxes", kBase)).status, 201u);
    EXPECT_EQ((co_await lab.ask(Verb::delete_, "/sandboxes/" + first)).status, 204u);
    EXPECT_EQ((co_await create(one)).status, 201u);
  });
}

TEST_F(ApiAccessTest, ATokenThatSetsNoSizeOrLifeBeyondItsOwnGetsThatOfItsTemplate) {
  with_api([](ApiLab& lab) -> Task<void> {
    std::string small = co_await mint(lab, lab.key, R"({"memoryMB":128,"timeout":30})");
    auto create = [&](std::string body) {
      return lab.ask_with_key(Verb::post, "/v2/sandboxes", std::move(body), small);
    };
    // The template's own 256 MiB are more than that.
    auto large = co_await create(R"({"templateID":"base","timeout":20})");
    EXPECT_EQ(large.status, 403u);
    EXPECT_NE(large.message().find(".memory)"), std::string::npos) << large.message();
    auto longer = co_await create(R"({"templateID":"base","timeout":60,"memoryMB":128})");
    EXPECT_EQ(longer.status, 403u);
    auto fits = co_await create(R"({"templateID":"base","timeout":20,"memoryMB":128})");
    std::string path = "/sandboxes/" + id_of(fits);
    auto more =
        co_await lab.ask_with_key(Verb::post, path + "/timeout", R"({"timeout":60})", small);
    EXPECT_EQ(more.status, 403u);
    EXPECT_NE(more.message().find(".ttl)"), std::string::npos) << more.message();
    // Nor by asking again and again for what it may have once.
    co_await sleep_for(std::chrono::milliseconds(20));
    auto again =
        co_await lab.ask_with_key(Verb::post, path + "/timeout", R"({"timeout":30})", small);
    EXPECT_EQ(again.status, 403u) << again.message();
    auto connected =
        co_await lab.ask_with_key(Verb::post, path + "/connect", R"({"timeout":30})", small);
    EXPECT_EQ(connected.status, 200u) << connected.message();
    auto shorter =
        co_await lab.ask_with_key(Verb::post, path + "/timeout", R"({"timeout":5})", small);
    EXPECT_EQ(shorter.status, 204u) << shorter.message();
  });
}

TEST_F(ApiAccessTest, TemplatesOfOneNameInTwoTenantsAreTwo) {
  with_api([](ApiLab& lab) -> Task<void> {
    EXPECT_EQ((co_await lab.ask(Verb::post, "/v1/tenants", R"({"name":"acme"})")).status, 201u);
    auto mine = co_await lab.ask(Verb::post, "/v3/templates", R"({"name":"app"})");
    auto theirs = co_await lab.ask_in("acme", Verb::post, "/v3/templates", R"({"name":"app"})");
    EXPECT_EQ(theirs.status, 202u) << theirs.message();
    EXPECT_NE(mine.body.at("templateID"), theirs.body.at("templateID"));
    std::string id(mine.body.at("templateID").as_string());
    auto hidden = co_await lab.ask_in("acme", Verb::get, "/templates/" + id + "/tags", "");
    EXPECT_EQ(hidden.status, 404u);
    // Public ones of the operator's tenant are everybody's to use, and nobody else's to change.
    auto shared = co_await lab.ask(Verb::post, "/v3/templates", R"({"name":"shared"})");
    auto opened = co_await lab.ask(Verb::patch, "/v2/templates/shared", R"({"public":true})");
    EXPECT_EQ(opened.status, 200u);
    auto found = co_await lab.ask_in("acme", Verb::get, "/templates/aliases/shared", "");
    EXPECT_EQ(found.body.at("templateID"), shared.body.at("templateID"));
    auto taken = co_await lab.ask_in("acme", Verb::delete_, "/templates/shared", "");
    EXPECT_EQ(taken.status, 403u);
    // What they have printed is not theirs to read.
    std::string logs = "/templates/" + std::string(shared.body.at("templateID").as_string()) +
                       "/builds/" + std::string(shared.body.at("buildID").as_string()) + "/logs";
    EXPECT_EQ((co_await lab.ask_in("acme", Verb::get, logs, "")).status, 404u);
    EXPECT_EQ((co_await lab.ask(Verb::get, logs)).status, 200u);
    // Those of other tenants go by the tenant's name.
    auto given =
        co_await lab.ask_in("acme", Verb::patch, "/v2/templates/app", R"({"public":true})");
    EXPECT_EQ(given.status, 200u);
    found = co_await lab.ask(Verb::get, "/templates/aliases/acme%2Fapp");
    EXPECT_EQ(found.body.at("templateID"), theirs.body.at("templateID"));
    found = co_await lab.ask(Verb::get, "/templates/aliases/app");
    EXPECT_EQ(found.body.at("templateID"), mine.body.at("templateID"));
  });
}

}  // namespace
}  // namespace hako::test
