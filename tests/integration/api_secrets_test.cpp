// The two secrets of a key that was rotated, the operator's tokens, and what revoking costs others.
#include "store/store.h"
#include "support/api_fixture.h"
#include "wire/macaroon.h"

namespace hako::test {
namespace {

using http::Verb;

class ApiSecretsTest : public ApiFixture {
  Task<void> prepare() override {
    co_await lab_.ask(Verb::post, "/v1/tenants", R"({"name":"acme"})");
  }
};

constexpr const char* kBase = R"({"templateID":"base","timeout":60})";

std::string narrowed(const std::string& token, const char* caveat) {
  return wire::to_string(wire::narrow(wire::parse_macaroon(token).value(), caveat).value());
}

/// With whatever credential, in a tenant.
Task<unsigned> status_in(ApiLab& lab, std::string tenant, std::string credential) {
  std::string own = std::exchange(lab.key, credential);
  auto reply = co_await lab.ask_in(std::move(tenant), Verb::get, "/v2/sandboxes");
  lab.key = own;
  co_return reply.status;
}

/// The grant of this token, as the gate was last told; null if it takes it no more.
json::value grant_at_gate(ApiLab& lab, const std::string& box, const std::string& token) {
  for (const json::value& grant : lab.node.egress.at(box).at("ingress").at("grants").as_array()) {
    if (grant.at("token") == json::value(token)) return grant;
  }
  return {};
}

/// The grants of a box as they are written down.
std::string stored_grants(ApiLab& lab, const std::string& box) {
  auto store = store::open_sqlite_store(lab.config.database());
  return store.value()->find_sandbox(box).value().value().grants;
}

// ---- a key with two secrets ---------------------------------------------------------------------

TEST_F(ApiSecretsTest, WhatComesOfAnOldSecretEndsWithItsGrace) {
  with_api([](ApiLab& lab) -> Task<void> {
    auto key = co_await make_key(lab, "acme", R"({"role":"owner"})");
    auto made = co_await lab.ask_with_key(Verb::post, "/v2/sandboxes", kBase, key.key);
    std::string id = text(made, "sandboxID"), path = "/sandboxes/" + id;
    std::string before = text(made, "envdAccessToken");
    EXPECT_FALSE(grant_at_gate(lab, id, before).as_object().contains("expires_ms"));
    std::string token = co_await mint(lab, key.key, "{}");

    auto rotated = co_await lab.ask_in("acme", Verb::post, "/v1/keys/" + key.id + "/rotate",
                                       R"({"grace":3600})");
    std::string fresh = text(rotated, "key");
    // Connections of those who still use the old one go on, until it ends.
    json::value kept = grant_at_gate(lab, id, before);
    CO_ASSERT_TRUE(kept.is_object() && kept.as_object().contains("expires_ms"));
    json::value end = kept.at("expires_ms");

    std::vector<std::string> late{before};
    std::vector<std::string> old{key.key, token};
    old.push_back(co_await mint(lab, key.key, "{}"));
    old.push_back(co_await mint(lab, token, R"({"label":"public"})"));
    for (const std::string& each : old) {
      EXPECT_EQ(co_await status_with(lab, each), 200u);
      auto shown = co_await lab.ask_with_key(Verb::get, path, "", each);
      late.push_back(text(shown, "envdAccessToken"));
      json::value grant = grant_at_gate(lab, id, late.back());
      CO_ASSERT_TRUE(grant.is_object());
      EXPECT_EQ(grant.at("expires_ms"), end);
    }
    auto shown = co_await lab.ask_with_key(Verb::get, path, "", fresh);
    std::string lasting = text(shown, "envdAccessToken");
    EXPECT_FALSE(grant_at_gate(lab, id, lasting).as_object().contains("expires_ms"));

    run_sql(lab, "UPDATE api_keys SET old_until_ms = 1 WHERE id = '" + key.id + "'");
    for (const std::string& each : old) EXPECT_EQ(co_await status_with(lab, each), 401u);
    EXPECT_EQ(co_await status_with(lab, fresh), 200u);
    co_await lab.stop_api();
    EXPECT_TRUE(co_await lab.start_api());
    for (const std::string& each : late) {
      std::function<bool()> gone = [&] { return grant_at_gate(lab, id, each).is_null(); };
      EXPECT_TRUE(co_await lab.eventually(std::move(gone)));
    }
    EXPECT_TRUE(grant_at_gate(lab, id, lasting).is_object());
  });
}

TEST_F(ApiSecretsTest, AnOldSecretManagesNoKeys) {
  with_api([](ApiLab& lab) -> Task<void> {
    auto key = co_await make_key(lab, "acme", R"({"role":"owner"})");
    auto other = co_await make_key(lab, "acme", "{}");
    std::string token = co_await mint(lab, key.key, "{}");
    std::string rotate = "/v1/keys/" + key.id + "/rotate";
    auto rotated =
        co_await lab.ask_with_key(Verb::post, rotate, R"({"grace":3600})", key.key);
    std::string fresh = text(rotated, "key");
    for (const std::string& each : {key.key, token}) {
      for (const auto& [verb, target] :
           {std::pair(Verb::post, rotate), std::pair(Verb::post, std::string("/v1/keys")),
            std::pair(Verb::delete_, "/v1/keys/" + other.id),
            std::pair(Verb::patch, "/v1/keys/" + other.id)}) {
        auto refused = co_await lab.ask_with_key(verb, target, "{}", each);
        EXPECT_EQ(refused.status, 403u) << target;
        EXPECT_NE(refused.message().find("old secret"), std::string::npos) << refused.message();
      }
    }
    EXPECT_EQ(co_await status_with(lab, other.key), 200u);
    EXPECT_EQ((co_await lab.ask_with_key(Verb::post, rotate, "{}", fresh)).status, 200u);
    EXPECT_EQ(co_await status_with(lab, key.key), 401u);
  });
}

// ---- the operator's tokens ----------------------------------------------------------------------

TEST_F(ApiSecretsTest, TheOperatorsTokensAreForTheTenantTheyAreMadeIn) {
  with_api([](ApiLab& lab) -> Task<void> {
    for (const char* body : {"{}", R"({"agent":"build"})", R"({"actions":["sandbox.read"]})",
                             R"({"agent":"build","actions":["sandbox.read","tenant.manage"]})"}) {
      std::string home = co_await mint(lab, lab.key, body);
      EXPECT_EQ(wire::parse_macaroon(home).value().caveats.at(0), "tenant = default") << body;
      EXPECT_EQ(co_await status_with(lab, home), 200u) << body;
      EXPECT_NE(co_await status_in(lab, "acme", home), 200u) << body;
      auto made = co_await lab.ask_in("acme", Verb::post, "/v1/tokens", body);
      std::string there = text(made, "token");
      EXPECT_EQ(made.body.at("caveats").at(0), "tenant = acme") << body;
      EXPECT_EQ(co_await status_with(lab, there), 200u) << body;
      EXPECT_NE(co_await status_in(lab, "default", there), 200u) << body;
    }
  });
}

TEST_F(ApiSecretsTest, OnlyOneThatManagesTenantsIsForAll) {
  with_api([](ApiLab& lab) -> Task<void> {
    std::string all = co_await mint(
        lab, lab.key, R"({"actions":["tenant.manage","sandbox.read","tenant.read"]})");
    EXPECT_EQ(co_await status_in(lab, "acme", all), 200u);
    EXPECT_EQ(co_await status_in(lab, "acme", narrowed(all, "label <= public")), 200u);
    // Whoever takes that away, also without asking, leaves the tenant that it is at home in.
    for (const char* caveat : {"agent = build", "actions = sandbox.read", "sandbox = i1"}) {
      std::string one = narrowed(all, caveat);
      EXPECT_EQ(co_await status_with(lab, one), 200u) << caveat;
      EXPECT_EQ(co_await status_in(lab, "acme", one), 404u) << caveat;
      std::string wish = R"({"actions":["tenant.manage","sandbox.read"]})";
      auto again = co_await lab.ask_with_key(Verb::post, "/v1/tokens", wish, one);
      EXPECT_NE(json::serialize(again.body).find("tenant = default"), std::string::npos);
    }
    std::string own = std::exchange(lab.key, all);
    auto there = co_await lab.ask_in("acme", Verb::post, "/v1/tokens", R"({"label":"public"})");
    lab.key = own;
    EXPECT_EQ(co_await status_with(lab, text(there, "token")), 200u);
    EXPECT_NE(co_await status_in(lab, "default", text(there, "token")), 200u);
  });
}

// ---- what revoking costs others -----------------------------------------------------------------

TEST_F(ApiSecretsTest, RevokingLooksOnlyWhereTheTokenWasAndOnlyOnce) {
  with_api([](ApiLab& lab) -> Task<void> {
    auto member = co_await make_key(lab, "acme", "{}");
    auto viewer = co_await make_key(lab, "acme", R"({"role":"viewer"})");
    std::string token = co_await mint(lab, member.key, "{}");
    std::string looking = co_await mint(lab, viewer.key, "{}");
    auto made = co_await lab.ask_with_key(Verb::post, "/v2/sandboxes", kBase, token);
    std::string id = text(made, "sandboxID"), given = text(made, "envdAccessToken");
    std::string grants = stored_grants(lab, id);
    auto revoke = [&](const std::string& which, std::string key) {
      return lab.ask_with_key(Verb::post, "/v1/tokens/revoke", R"({"token":")" + which + "\"}", key);
    };
    // As if its key had gone unnoticed: whoever looks at the sandbox sees to it.
    run_sql(lab, "UPDATE api_keys SET role = 'viewer' WHERE id = '" + member.id + "'");
    EXPECT_EQ((co_await revoke(looking, viewer.key)).status, 204u);
    EXPECT_EQ(stored_grants(lab, id), grants);
    EXPECT_EQ((co_await revoke(token, member.key)).status, 204u);
    EXPECT_EQ(stored_grants(lab, id), "[]");
    EXPECT_TRUE(grant_at_gate(lab, id, given).is_null());
    run_sql(lab, "UPDATE sandboxes SET grants = '" + grants + "'");
    EXPECT_EQ((co_await revoke(token, member.key)).status, 204u);
    EXPECT_EQ(stored_grants(lab, id), grants);
  });
}

TEST_F(ApiSecretsTest, AHelperDoesNotPushOutItsMaker) {
  with_api([](ApiLab& lab) -> Task<void> {
    auto member = co_await make_key(lab, "acme", "{}");
    std::string token = co_await mint(lab, member.key, "{}");
    auto made = co_await lab.ask_with_key(Verb::post, "/v2/sandboxes", kBase, token);
    std::string id = text(made, "sandboxID"), given = text(made, "envdAccessToken");
    std::string path = "/sandboxes/" + id;
    for (int day = 10; day < 30; ++day) {
      std::string caveat = "expires < 2126-12-" + std::to_string(day) + "T00:00:00Z";
      std::string helper = narrowed(token, caveat.c_str());
      auto seen = co_await lab.ask_with_key(Verb::get, path, "", helper);
      EXPECT_EQ(seen.status, 200u);
      // Looking takes nothing from anybody; who comes to work does.
      EXPECT_EQ(seen.body.as_object().contains("envdAccessToken"), day < 17) << day;
      auto joined = co_await lab.ask_with_key(Verb::post, path + "/connect", R"({"timeout":60})",
                                              helper);
      EXPECT_TRUE(grant_at_gate(lab, id, text(joined, "envdAccessToken")).is_object());
    }
    EXPECT_TRUE(grant_at_gate(lab, id, given).is_object());
  });
}

// ---- counted by tenant --------------------------------------------------------------------------

TEST_F(ApiSecretsTest, ATenantsBoxesCountAlsoIfTheyAreOlderThanTheLimit) {
  with_api([](ApiLab& lab) -> Task<void> {
    (void)co_await lab.ask_in("acme", Verb::post, "/v2/sandboxes", kBase);
    auto limited = co_await lab.ask(Verb::patch, "/v1/tenants/acme", R"({"policy":{"boxes":2}})");
    EXPECT_EQ(limited.status, 200u);
    EXPECT_EQ((co_await lab.ask_in("acme", Verb::post, "/v2/sandboxes", kBase)).status, 201u);
    auto refused = co_await lab.ask_in("acme", Verb::post, "/v2/sandboxes", kBase);
    EXPECT_EQ(refused.status, 429u);
    EXPECT_NE(refused.message().find("tenant acme.boxes"), std::string::npos) << refused.message();
    EXPECT_EQ((co_await lab.ask(Verb::post, "/v2/sandboxes", kBase)).status, 201u);
  });
}

TEST_F(ApiSecretsTest, TheNodeIsToldWhoseBoxItIsWhateverIsDoneToIt) {
  with_api([](ApiLab& lab) -> Task<void> {
    auto created = co_await lab.ask_in("acme", Verb::post, "/v2/sandboxes", kBase);
    std::string path = "/sandboxes/" + text(created, "sandboxID");
    std::vector<std::string> without;
    lab.node.before = [&](const std::string& method, const json::object& body) {
      std::optional<FakeNode::Answer> answer;
      const json::value* tenant = body.if_contains("tenant");
      if (body.contains("box") && (!tenant || *tenant != "acme")) without.push_back(method);
      if (method == "box.create") answer = Error(ErrorCode::timed_out, "it took too long");
      return answer;
    };
    (void)co_await lab.ask_in("acme", Verb::post, "/v2/sandboxes", kBase);
    EXPECT_EQ(lab.node.calls.back(), "box.destroy");
    (void)co_await lab.ask_in("acme", Verb::post, path + "/timeout", R"({"timeout":30})");
    EXPECT_EQ(lab.node.calls.back(), "box.set_end");
    (void)co_await lab.ask_in("acme", Verb::get, path + "/logs");
    (void)co_await lab.ask_in("acme", Verb::delete_, path);
    EXPECT_EQ(lab.node.calls.back(), "box.destroy");
    EXPECT_EQ(without, std::vector<std::string>());
    lab.node.before = nullptr;
  });
}

}  // namespace
}  // namespace hako::test
