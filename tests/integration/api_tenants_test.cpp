// Tenants, keys and tokens, as the operator and the tenants' own people manage them.
#include <gtest/gtest.h>

#include "api/key_records.h"
#include "api/keys.h"
#include "store/store.h"
#include "support/api_lab.h"
#include "support/run_task.h"
#include "wire/macaroon.h"

namespace hako::test {
namespace {

using http::Verb;
using namespace std::chrono_literals;

class ApiTenantsTest : public ::testing::Test {
 protected:
  void with_api(Task<void> (*body)(ApiLab&)) { run_on(lab_.loop, started(body)); }

  ApiLab lab_;

 private:
  Task<void> started(Task<void> (*body)(ApiLab&)) {
    co_await lab_.start();
    std::exception_ptr fault;
    try {
      co_await body(lab_);
    } catch (...) {
      fault = std::current_exception();
    }
    co_await lab_.stop();
    if (fault) std::rethrow_exception(fault);
  }
};

void expect_refusal(const Reply& reply, unsigned status, std::string_view part) {
  EXPECT_EQ(reply.status, status) << reply.message();
  EXPECT_NE(reply.message().find(part), std::string::npos) << reply.message();
}

std::string text(const Reply& reply, const char* member) {
  return std::string(reply.body.at(member).as_string());
}

Task<void> add_tenant(ApiLab& lab, std::string name, std::string more = {}) {
  std::string body = R"({"name":")" + name + "\"" + more + "}";
  auto made = co_await lab.ask(Verb::post, "/v1/tenants", body);
  if (made.status != 201) throw std::runtime_error(made.message());
}

struct NewKey {
  std::string id, key;
};

/// A key that the operator makes in a tenant.
Task<NewKey> add_key(ApiLab& lab, std::string tenant, std::string body) {
  auto made = co_await lab.ask_in(tenant, Verb::post, "/v1/keys", body);
  if (made.status != 201) throw std::runtime_error(made.message());
  NewKey result;
  result.id = text(made, "keyID");
  result.key = text(made, "key");
  co_return result;
}

Task<std::string> mint(ApiLab& lab, std::string key, std::string body = {}) {
  auto made = co_await lab.ask_with_key(Verb::post, "/v1/tokens", body, key);
  if (made.status != 201) throw std::runtime_error(made.message());
  co_return text(made, "token");
}

Task<unsigned> status_with(ApiLab& lab, std::string key) {
  auto reply = co_await lab.ask_with_key(Verb::get, "/v2/sandboxes", "", key);
  co_return reply.status;
}

// ---- tenants ------------------------------------------------------------------------------------

TEST_F(ApiTenantsTest, AreMadeShownChangedAndRemoved) {
  with_api([](ApiLab& lab) -> Task<void> {
    auto made = co_await lab.ask(
        Verb::post, "/v1/tenants",
        R"({"name":"acme","policy":{"label":"internal","egress":{"level":"none"}},
            "quota":{"boxes":3}})");
    EXPECT_EQ(made.status, 201u) << made.message();
    EXPECT_EQ(made.body.at("policy").at("label"), "internal");
    EXPECT_EQ(made.body.at("quota").at("boxes"), 3);
    EXPECT_EQ(made.body.at("suspended"), false);
    expect_refusal(co_await lab.ask(Verb::post, "/v1/tenants", R"({"name":"acme"})"), 409,
                   "there already");

    auto all = co_await lab.ask(Verb::get, "/v1/tenants");
    EXPECT_EQ(all.body.at("tenants").as_array().size(), 2u);
    EXPECT_EQ(all.body.at("tenants").at(1).at("name"), "default");

    // What is not given stays; what is given is replaced whole.
    auto changed = co_await lab.ask(Verb::patch, "/v1/tenants/acme", R"({"quota":{"vcpus":8}})");
    EXPECT_EQ(changed.status, 200u);
    EXPECT_EQ(changed.body.at("policy").at("label"), "internal");
    EXPECT_FALSE(changed.body.at("quota").as_object().contains("boxes"));
    changed = co_await lab.ask(Verb::patch, "/v1/tenants/acme", R"({"policy":{}})");
    EXPECT_TRUE(changed.body.at("policy").as_object().empty());

    auto shown = co_await lab.ask(Verb::get, "/v1/tenants/acme");
    EXPECT_EQ(shown.body.at("quota").at("vcpus"), 8);
    EXPECT_EQ(shown.body.at("usage").at("boxes"), 0);
    EXPECT_EQ(shown.body.at("usage").at("egressBytesToday"), 0);

    EXPECT_EQ((co_await lab.ask(Verb::delete_, "/v1/tenants/acme")).status, 204u);
    for (Verb verb : {Verb::get, Verb::patch, Verb::delete_}) {
      auto gone = co_await lab.ask(verb, "/v1/tenants/acme");
      expect_refusal(gone, 404, "tenant acme not found");
    }
  });
}

TEST_F(ApiTenantsTest, WrongOnesAreRefusedByName) {
  with_api([](ApiLab& lab) -> Task<void> {
    struct Case {
      const char* body;
      const char* part;
    };
    const Case cases[] = {
        {R"({})", "name must be"},
        {R"({"name":"Acme"})", "name must be"},
        {R"({"name":"a/b"})", "name must be"},
        {R"({"name":"acme","polcy":{}})", "polcy is not known"},
        {R"({"name":"acme","policy":{"lable":"public"}})", "lable"},
        {R"({"name":"acme","policy":{"tenant":"beta"}})", "policy.tenant"},
        {R"({"name":"acme","policy":[]})", "policy must be"},
        {R"({"name":"acme","quota":{"box":1}})", "box"},
        {R"({"name":"acme","quota":{"boxes":-1}})", "boxes"},
        {R"({"name":"acme","suspended":"yes"})", "suspended must be"},
    };
    for (const Case& each : cases) {
      expect_refusal(co_await lab.ask(Verb::post, "/v1/tenants", each.body), 400, each.part);
    }
    auto all = co_await lab.ask(Verb::get, "/v1/tenants");
    EXPECT_EQ(all.body.at("tenants").as_array().size(), 1u);
  });
}

TEST_F(ApiTenantsTest, TheDefaultOneStaysAndLetsItsOperatorIn) {
  with_api([](ApiLab& lab) -> Task<void> {
    expect_refusal(co_await lab.ask(Verb::delete_, "/v1/tenants/default"), 409, "always there");
    for (const char* policy :
         {R"({"actions":["sandbox.read"]})", R"({"agent":"a"})", R"({"sandboxes":[]})",
          R"({"expires":"2020-01-01T00:00:00Z"})"}) {
      auto reply = co_await lab.ask(Verb::patch, "/v1/tenants/default",
                                    R"({"policy":)" + std::string(policy) + "}");
      expect_refusal(reply, 409, "locked out");
    }
    auto fine = co_await lab.ask(Verb::patch, "/v1/tenants/default",
                                 R"({"policy":{"memoryMB":1024},"suspended":true})");
    EXPECT_EQ(fine.status, 200u) << fine.message();
    fine = co_await lab.ask(Verb::patch, "/v1/tenants/default", R"({"suspended":false})");
    EXPECT_EQ(fine.status, 200u) << fine.message();
  });
}

TEST_F(ApiTenantsTest, ToTheirPeopleNoOtherExists) {
  with_api([](ApiLab& lab) -> Task<void> {
    co_await add_tenant(lab, "acme");
    co_await add_tenant(lab, "beta");
    auto owner = co_await add_key(lab, "acme", R"({"role":"owner"})");
    auto list = co_await lab.ask_with_key(Verb::get, "/v1/tenants", "", owner.key);
    CO_ASSERT_TRUE(list.status == 200);
    EXPECT_EQ(list.body.at("tenants").as_array().size(), 1u);
    EXPECT_EQ(list.body.at("tenants").at(0).at("name"), "acme");
    auto own = co_await lab.ask_with_key(Verb::get, "/v1/tenants/acme", "", owner.key);
    EXPECT_EQ(own.body.at("usage").at("boxes"), 0);

    auto there = co_await lab.ask_with_key(Verb::get, "/v1/tenants/beta", "", owner.key);
    auto nowhere = co_await lab.ask_with_key(Verb::get, "/v1/tenants/gone", "", owner.key);
    expect_refusal(there, 404, "tenant beta not found");
    expect_refusal(nowhere, 404, "tenant gone not found");

    // They change none, not even their own, and are told the same whatever the name is.
    for (const char* name : {"acme", "beta", "gone"}) {
      std::string path = std::string("/v1/tenants/") + name;
      auto changed = co_await lab.ask_with_key(Verb::patch, path, "{}", owner.key);
      auto removed = co_await lab.ask_with_key(Verb::delete_, path, "", owner.key);
      EXPECT_EQ(changed.status, 403u);
      EXPECT_EQ(removed.status, 403u);
    }
    auto made = co_await lab.ask_with_key(Verb::post, "/v1/tenants", R"({"name":"c"})", owner.key);
    EXPECT_EQ(made.status, 403u);
  });
}

TEST_F(ApiTenantsTest, UsageIsForThoseFromWhomNothingIsHidden) {
  with_api([](ApiLab& lab) -> Task<void> {
    co_await add_tenant(lab, "acme", R"(,"policy":{"label":"internal"})");
    struct Case {
      const char* body;
      bool told;
    };
    const Case cases[] = {
        {R"({"role":"viewer","policy":{"label":"internal"}})", true},
        {R"({"role":"viewer"})", false},
        {R"({"role":"viewer","policy":{"label":"internal","agent":"build"}})", false},
    };
    for (const Case& each : cases) {
      auto made = co_await add_key(lab, "acme", each.body);
      auto shown = co_await lab.ask_with_key(Verb::get, "/v1/tenants/acme", "", made.key);
      CO_ASSERT_TRUE(shown.status == 200);
      EXPECT_EQ(shown.body.as_object().contains("usage"), each.told) << each.body;
    }
  });
}

TEST_F(ApiTenantsTest, ASuspendedOnesKeysAndTokensAreRefused) {
  with_api([](ApiLab& lab) -> Task<void> {
    co_await add_tenant(lab, "acme");
    auto member = co_await add_key(lab, "acme", "{}");
    std::string token = co_await mint(lab, member.key);
    EXPECT_EQ(co_await status_with(lab, member.key), 200u);
    (void)co_await lab.ask(Verb::patch, "/v1/tenants/acme", R"({"suspended":true})");
    EXPECT_EQ(co_await status_with(lab, member.key), 403u);
    EXPECT_EQ(co_await status_with(lab, token), 403u);
    // The operator can look, and mend it.
    auto keys = co_await lab.ask_in("acme", Verb::get, "/v1/keys");
    EXPECT_EQ(keys.body.at("keys").as_array().size(), 1u);
    (void)co_await lab.ask(Verb::patch, "/v1/tenants/acme", R"({"suspended":false})");
    EXPECT_EQ(co_await status_with(lab, member.key), 200u);
  });
}

TEST_F(ApiTenantsTest, OneWithSandboxesStays) {
  with_api([](ApiLab& lab) -> Task<void> {
    co_await add_tenant(lab, "acme");
    auto member = co_await add_key(lab, "acme", "{}");
    auto made = co_await lab.ask_with_key(Verb::post, "/v2/sandboxes", R"({"templateID":"base"})",
                                          member.key);
    CO_ASSERT_TRUE(made.status == 201);
    auto shown = co_await lab.ask(Verb::get, "/v1/tenants/acme");
    EXPECT_EQ(shown.body.at("usage").at("boxes"), 1);
    EXPECT_EQ(shown.body.at("usage").at("memoryMB"), 256);
    expect_refusal(co_await lab.ask(Verb::delete_, "/v1/tenants/acme"), 409, "sandboxes");
    EXPECT_EQ(co_await status_with(lab, member.key), 200u);
    auto ended = co_await lab.ask_with_key(Verb::delete_, "/sandboxes/" + text(made, "sandboxID"),
                                           "", member.key);
    EXPECT_EQ(ended.status, 204u);
    EXPECT_EQ((co_await lab.ask(Verb::delete_, "/v1/tenants/acme")).status, 204u);
    EXPECT_EQ(co_await status_with(lab, member.key), 401u);
  });
}

// ---- keys ---------------------------------------------------------------------------------------

TEST_F(ApiTenantsTest, AKeyIsShownOnce) {
  with_api([](ApiLab& lab) -> Task<void> {
    auto made = co_await lab.ask(Verb::post, "/v1/keys",
                                 R"({"user":"ann","name":"her laptop","policy":{
                                     "agent":"build/a","actions":["sandbox.read"],
                                     "expires":"2126-01-01T00:00:00Z"}})");
    CO_ASSERT_TRUE(made.status == 201);
    std::string key = text(made, "key");
    EXPECT_TRUE(api::is_api_key(key));
    EXPECT_EQ(made.body.at("role"), "member");
    EXPECT_EQ(made.body.at("tenant"), "default");
    EXPECT_EQ(made.body.at("policy").at("agent"), "build/a");
    EXPECT_EQ(made.body.at("policy").at("label"), "public");
    EXPECT_EQ(made.body.at("policy").at("expires"), "2126-01-01T00:00:00.000Z");
    EXPECT_EQ(co_await status_with(lab, key), 200u);

    std::string id = text(made, "keyID");
    auto list = co_await lab.ask(Verb::get, "/v1/keys");
    auto one = co_await lab.ask(Verb::get, "/v1/keys/" + id);
    EXPECT_EQ(list.body.at("keys").as_array().size(), 2u);  // and the operator's
    for (const json::value& body : {list.body, one.body}) {
      std::string all = json::serialize(body);
      EXPECT_EQ(all.find(key), all.npos);
      EXPECT_EQ(all.find(key.substr(4)), all.npos);
      EXPECT_EQ(all.find(api::hash_api_key(key)), all.npos);
      EXPECT_NE(all.find("her laptop"), all.npos);
    }
  });
}

TEST_F(ApiTenantsTest, WrongKeysAreRefusedByName) {
  with_api([](ApiLab& lab) -> Task<void> {
    struct Case {
      std::string body;
      const char* part;
    };
    const Case cases[] = {
        {R"({"role":"platform"})", "role must be"},
        {R"({"role":"root"})", "role must be"},
        {R"({"polcy":{}})", "polcy is not known"},
        {R"({"expires":"2026-01-01T00:00:00Z"})", "expires is not known"},
        {R"({"policy":{"tenant":"acme"}})", "policy.tenant"},
        {R"({"policy":{"actions":["all"]}})", "all"},
        {R"({"user":")" + std::string(129, 'u') + "\"}", "user must have"},
        {R"({"name":")" + std::string(257, 'n') + "\"}", "name must have"},
    };
    for (const Case& each : cases) {
      expect_refusal(co_await lab.ask(Verb::post, "/v1/keys", each.body), 400, each.part);
    }
    auto keys = co_await lab.ask(Verb::get, "/v1/keys");
    EXPECT_EQ(keys.body.at("keys").as_array().size(), 1u);
  });
}

TEST_F(ApiTenantsTest, OnlyOwnersManageKeys) {
  with_api([](ApiLab& lab) -> Task<void> {
    co_await add_tenant(lab, "acme");
    auto owner = co_await add_key(lab, "acme", R"({"role":"owner"})");
    for (const char* role : {"member", "viewer", "auditor"}) {
      auto made = co_await add_key(lab, "acme", R"({"role":")" + std::string(role) + "\"}");
      for (const char* path : {"/v1/keys", "/v1/keys/kgone"}) {
        auto reply = co_await lab.ask_with_key(Verb::get, path, "", made.key);
        EXPECT_EQ(reply.status, 403u) << role;
      }
      auto reply = co_await lab.ask_with_key(Verb::post, "/v1/keys", "{}", made.key);
      EXPECT_EQ(reply.status, 403u) << role;
      reply = co_await lab.ask_with_key(Verb::delete_, "/v1/keys/" + owner.id, "", made.key);
      EXPECT_EQ(reply.status, 403u) << role;
    }
    EXPECT_EQ(co_await status_with(lab, owner.key), 200u);
  });
}

TEST_F(ApiTenantsTest, KeysOfOtherTenantsDoNotExist) {
  with_api([](ApiLab& lab) -> Task<void> {
    co_await add_tenant(lab, "acme");
    co_await add_tenant(lab, "beta");
    auto owner = co_await add_key(lab, "acme", R"({"role":"owner"})");
    auto foreign = co_await add_key(lab, "beta", R"({"role":"viewer"})");
    for (std::string id : {foreign.id, std::string("kgone"), std::string("operator")}) {
      std::string path = "/v1/keys/" + id;
      expect_refusal(co_await lab.ask_with_key(Verb::get, path, "", owner.key), 404,
                     "key not found");
      expect_refusal(co_await lab.ask_with_key(Verb::patch, path, "{}", owner.key), 404,
                     "key not found");
      expect_refusal(co_await lab.ask_with_key(Verb::post, path + "/rotate", "", owner.key), 404,
                     "key not found");
      expect_refusal(co_await lab.ask_with_key(Verb::delete_, path, "", owner.key), 404,
                     "key not found");
    }
    // Nor is it theirs in the operator's eyes.
    EXPECT_EQ((co_await lab.ask_in("acme", Verb::delete_, "/v1/keys/" + foreign.id)).status, 404u);
    EXPECT_EQ(co_await status_with(lab, foreign.key), 200u);
  });
}

TEST_F(ApiTenantsTest, AKeyMakesOnlyKeysWithinItself) {
  with_api([](ApiLab& lab) -> Task<void> {
    co_await add_tenant(lab, "acme");
    auto owner = co_await add_key(
        lab, "acme",
        R"({"role":"owner","policy":{"label":"internal","agent":"build","memoryMB":512,
            "expires":"2126-01-01T00:00:00Z"}})");
    const char* end = R"("memoryMB":512,"expires":"2126-01-01T00:00:00Z")";
    struct Case {
      std::string policy;
      const char* rule;
    };
    const Case wider[] = {
        {R"({"agent":"other",)" + std::string(end) + "}", "within.agent"},
        {R"({"agent":"builds",)" + std::string(end) + "}", "within.agent"},
        {R"({"label":"secret",)" + std::string(end) + "}", "within.label"},
        {R"({"memoryMB":1024,"expires":"2126-01-01T00:00:00Z"})", "within.memory"},
        {R"({"expires":"2126-01-01T00:00:00Z"})", "within.memory"},
        {R"({"memoryMB":512})", "within.expires"},
    };
    for (const Case& each : wider) {
      auto reply = co_await lab.ask_with_key(Verb::post, "/v1/keys",
                                             R"({"policy":)" + each.policy + "}", owner.key);
      expect_refusal(reply, 403, each.rule);
    }
    // Of its own agent unless it says one below.
    auto made = co_await lab.ask_with_key(Verb::post, "/v1/keys",
                                          R"({"policy":{)" + std::string(end) + "}}", owner.key);
    CO_ASSERT_TRUE(made.status == 201);
    EXPECT_EQ(made.body.at("policy").at("agent"), "build");
    made = co_await lab.ask_with_key(
        Verb::post, "/v1/keys",
        R"({"role":"owner","policy":{"agent":"build/a",)" + std::string(end) + "}}", owner.key);
    CO_ASSERT_TRUE(made.status == 201);
    EXPECT_EQ(made.body.at("policy").at("label"), "internal") << "an owner's is its maker's";

    // What was made is made no wider, either.
    std::string path = "/v1/keys/" + text(made, "keyID");
    expect_refusal(co_await lab.ask_with_key(Verb::patch, path, R"({"policy":{}})", owner.key), 403,
                   "within.");
    auto listed = co_await lab.ask_with_key(Verb::get, "/v1/keys", "", owner.key);
    EXPECT_EQ(listed.body.at("keys").as_array().size(), 3u);
  });
}

TEST_F(ApiTenantsTest, AKeyDoesNotManageWhatIsWiderOrBeside) {
  with_api([](ApiLab& lab) -> Task<void> {
    co_await add_tenant(lab, "acme");
    auto whole = co_await add_key(lab, "acme", R"({"role":"owner"})");
    auto beside = co_await add_key(lab, "acme", R"({"policy":{"agent":"test"}})");
    auto below = co_await add_key(lab, "acme", R"({"policy":{"agent":"build/a"}})");
    auto narrow = co_await add_key(
        lab, "acme",
        R"({"role":"owner","policy":{"agent":"build","actions":["key.manage","sandbox.read"]}})");
    // Those above and beside do not exist for it; the one below does, and may do more.
    for (const NewKey& other : {whole, beside}) {
      auto reply =
          co_await lab.ask_with_key(Verb::delete_, "/v1/keys/" + other.id, "", narrow.key);
      expect_refusal(reply, 404, "key not found");
    }
    auto shown = co_await lab.ask_with_key(Verb::get, "/v1/keys/" + below.id, "", narrow.key);
    EXPECT_EQ(shown.status, 200u);
    for (Verb verb : {Verb::delete_, Verb::patch}) {
      auto reply = co_await lab.ask_with_key(verb, "/v1/keys/" + below.id, "", narrow.key);
      expect_refusal(reply, 403, "within.actions");
    }
    auto list = co_await lab.ask_with_key(Verb::get, "/v1/keys", "", narrow.key);
    EXPECT_EQ(list.body.at("keys").as_array().size(), 2u);
    for (const NewKey& other : {whole, beside, below}) {
      EXPECT_EQ(co_await status_with(lab, other.key), 200u);
    }
    // It may end itself, and narrow itself, but not widen itself.
    std::string own = "/v1/keys/" + narrow.id;
    expect_refusal(co_await lab.ask_with_key(Verb::patch, own, R"({"policy":{"agent":"build"}})",
                                             narrow.key),
                   403, "within.actions");
    EXPECT_EQ((co_await lab.ask_with_key(Verb::delete_, own, "", narrow.key)).status, 204u);
    EXPECT_EQ(co_await status_with(lab, narrow.key), 401u);
  });
}

TEST_F(ApiTenantsTest, AChangeCountsFromTheNextRequestOn) {
  with_api([](ApiLab& lab) -> Task<void> {
    auto made = co_await add_key(lab, "default", R"({"user":"ann"})");
    auto changed = co_await lab.ask(Verb::patch, "/v1/keys/" + made.id,
                                    R"({"role":"viewer","name":"to look at"})");
    EXPECT_EQ(changed.status, 200u) << changed.message();
    EXPECT_EQ(changed.body.at("role"), "viewer");
    EXPECT_EQ(changed.body.at("user"), "ann");
    EXPECT_FALSE(changed.body.as_object().contains("key"));
    auto refused = co_await lab.ask_with_key(Verb::post, "/v2/sandboxes",
                                             R"({"templateID":"base"})", made.key);
    EXPECT_EQ(refused.status, 403u);
  });
}

TEST_F(ApiTenantsTest, RotationEndsTheOldSecretAtOnceOrAfterItsGrace) {
  with_api([](ApiLab& lab) -> Task<void> {
    auto made = co_await add_key(lab, "default", "{}");
    std::string token = co_await mint(lab, made.key);
    std::string path = "/v1/keys/" + made.id + "/rotate";
    auto rotated = co_await lab.ask(Verb::post, path, R"({"grace":600})");
    CO_ASSERT_TRUE(rotated.status == 200);
    std::string second = text(rotated, "key");
    EXPECT_NE(second, made.key);
    EXPECT_TRUE(rotated.body.as_object().contains("oldSecretUntil"));
    for (const std::string& each : {made.key, second, token}) {
      EXPECT_EQ(co_await status_with(lab, each), 200u);
    }
    rotated = co_await lab.ask(Verb::post, path);
    CO_ASSERT_TRUE(rotated.status == 200);
    EXPECT_FALSE(rotated.body.as_object().contains("oldSecretUntil"));
    for (const std::string& each : {made.key, second, token}) {
      EXPECT_EQ(co_await status_with(lab, each), 401u);
    }
    EXPECT_EQ(co_await status_with(lab, text(rotated, "key")), 200u);
    for (const char* body : {R"({"grace":-1})", R"({"grace":604801})", R"({"grac":1})"}) {
      EXPECT_EQ((co_await lab.ask(Verb::post, path, body)).status, 400u) << body;
    }
  });
}

TEST_F(ApiTenantsTest, TheLastOwnerStaysUnlessTheOperatorSaysSo) {
  with_api([](ApiLab& lab) -> Task<void> {
    co_await add_tenant(lab, "acme");
    auto owner = co_await add_key(lab, "acme", R"({"role":"owner"})");
    std::string path = "/v1/keys/" + owner.id;
    expect_refusal(co_await lab.ask_with_key(Verb::delete_, path, "", owner.key), 409,
                   "last owner");
    expect_refusal(
        co_await lab.ask_with_key(Verb::patch, path, R"({"role":"member"})", owner.key), 409,
        "last owner");
    auto second = co_await add_key(lab, "acme", R"({"role":"owner"})");
    EXPECT_EQ((co_await lab.ask_with_key(Verb::delete_, path, "", owner.key)).status, 204u);
    EXPECT_EQ((co_await lab.ask_in("acme", Verb::delete_, "/v1/keys/" + second.id)).status, 204u);
  });
}

TEST_F(ApiTenantsTest, TheOperatorsKeyIsThatOfTheFile) {
  with_api([](ApiLab& lab) -> Task<void> {
    expect_refusal(co_await lab.ask(Verb::delete_, "/v1/keys/operator"), 409, "key file");
    expect_refusal(co_await lab.ask(Verb::post, "/v1/keys/operator/rotate"), 409, "key file");
    expect_refusal(co_await lab.ask(Verb::patch, "/v1/keys/operator", "{}"), 409, "key file");
    auto owner = co_await add_key(lab, "default", R"({"role":"owner"})");
    expect_refusal(co_await lab.ask_with_key(Verb::get, "/v1/keys/operator", "", owner.key), 404,
                   "key not found");
    auto list = co_await lab.ask_with_key(Verb::get, "/v1/keys", "", owner.key);
    EXPECT_EQ(list.body.at("keys").as_array().size(), 1u);
  });
}

TEST_F(ApiTenantsTest, ATenantHasSoManyKeysAndNoMore) {
  with_api([](ApiLab& lab) -> Task<void> {
    {
      auto store = store::open_sqlite_store(lab.config.database());
      CO_ASSERT_TRUE(store);
      for (size_t i = 1; i < api::kMostKeys; ++i) {
        store::ApiKey key;
        key.id = "k" + std::to_string(i);
        key.hash = std::to_string(i);
        CO_ASSERT_TRUE(store.value()->tenants().put_key(key));
      }
    }
    expect_refusal(co_await lab.ask(Verb::post, "/v1/keys", "{}"), 429, "1000 keys");
    co_await add_tenant(lab, "acme");
    (void)co_await add_key(lab, "acme", "{}");
  });
}

/// Sends the head of a request, and its body only after `meanwhile`. What comes back.
Task<std::string> slowly(ApiLab& lab, std::string target, std::string body, std::string key,
                         Task<void> meanwhile) {
  auto stream = co_await http::connect_tcp("127.0.0.1", lab.port, 5s);
  if (!stream) throw std::runtime_error(stream.error().message());
  std::string head = "POST " + target + " HTTP/1.1\r\nHost: h\r\nX-API-KEY: " + key +
                     "\r\nContent-Length: " + std::to_string(body.size()) +
                     "\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n";
  co_await asio::async_write(stream.value(), asio::buffer(head), asio::use_awaitable);
  // It has been admitted when it is asked for its body.
  std::string answer;
  co_await asio::async_read_until(stream.value(), asio::dynamic_buffer(answer), "\r\n\r\n",
                                  asio::use_awaitable);
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 100")) << answer;
  co_await std::move(meanwhile);
  co_await asio::async_write(stream.value(), asio::buffer(body), asio::use_awaitable);
  boost::system::error_code ended;
  answer.clear();
  co_await asio::async_read(stream.value(), asio::dynamic_buffer(answer),
                            asio::redirect_error(asio::use_awaitable, ended));
  co_return answer;
}

Task<void> end_key(ApiLab& lab, std::string tenant, std::string id) {
  auto ended = co_await lab.ask_in(tenant, Verb::delete_, "/v1/keys/" + id);
  EXPECT_EQ(ended.status, 204u);
}

Task<void> rotate_key(ApiLab& lab, std::string tenant, std::string id, std::string body = {}) {
  auto rotated = co_await lab.ask_in(tenant, Verb::post, "/v1/keys/" + id + "/rotate", body);
  EXPECT_EQ(rotated.status, 200u);
}

TEST_F(ApiTenantsTest, AKeyThatEndsWhileItsRequestArrivesMakesNothing) {
  with_api([](ApiLab& lab) -> Task<void> {
    co_await add_tenant(lab, "acme");
    for (std::string target : {"/v1/keys", "/v1/tokens"}) {
      auto removed = co_await add_key(lab, "acme", R"({"role":"owner"})");
      auto answer = co_await slowly(lab, target, "{}", removed.key,
                                    end_key(lab, "acme", removed.id));
      EXPECT_TRUE(answer.starts_with("HTTP/1.1 401")) << answer;
      auto rotated = co_await add_key(lab, "acme", R"({"role":"owner"})");
      answer = co_await slowly(lab, target, "{}", rotated.key,
                               rotate_key(lab, "acme", rotated.id));
      EXPECT_TRUE(answer.starts_with("HTTP/1.1 401")) << answer;
    }
    // With a grace it still makes tokens, which end with it.
    auto key = co_await add_key(lab, "acme", R"({"role":"owner"})");
    auto answer = co_await slowly(lab, "/v1/keys", "{}", key.key,
                                  rotate_key(lab, "acme", key.id, R"({"grace":600})"));
    EXPECT_TRUE(answer.starts_with("HTTP/1.1 403")) << answer;
    auto keys = co_await lab.ask_in("acme", Verb::get, "/v1/keys");
    EXPECT_EQ(keys.body.at("keys").as_array().size(), 3u);
  });
}

// ---- tokens -------------------------------------------------------------------------------------

TEST_F(ApiTenantsTest, ATokenIsItsKeyNarrowed) {
  with_api([](ApiLab& lab) -> Task<void> {
    co_await add_tenant(lab, "acme");
    auto member = co_await add_key(lab, "acme", "{}");
    auto made = co_await lab.ask_with_key(
        Verb::post, "/v1/tokens", R"({"agent":"build","actions":["sandbox.read"]})", member.key);
    CO_ASSERT_TRUE(made.status == 201);
    EXPECT_TRUE(text(made, "tokenID").starts_with(member.id + "."));
    EXPECT_EQ(made.body.at("caveats").at(0), "agent = build");
    EXPECT_EQ(made.body.at("caveats").at(1), "actions = sandbox.read");
    std::string token = text(made, "token");
    EXPECT_EQ(co_await status_with(lab, token), 200u);
    auto refused = co_await lab.ask_with_key(Verb::post, "/v2/sandboxes",
                                             R"({"templateID":"base"})", token);
    EXPECT_EQ(refused.status, 403u);

    // A token makes a token as its holder would.
    auto narrower = co_await lab.ask_with_key(Verb::post, "/v1/tokens", R"({"agent":"build/a"})",
                                              token);
    CO_ASSERT_TRUE(narrower.status == 201);
    EXPECT_EQ(narrower.body.at("tokenID"), made.body.at("tokenID"));
    auto by_hand = wire::narrow(wire::parse_macaroon(token).value(), "agent = build/a");
    EXPECT_EQ(text(narrower, "token"), wire::to_string(by_hand.value()));

    // One that nothing is left of is not made.
    auto nothing =
        co_await lab.ask_with_key(Verb::post, "/v1/tokens", R"({"agent":"test"})", token);
    expect_refusal(nothing, 403, "good for nothing");
    nothing = co_await lab.ask_with_key(Verb::post, "/v1/tokens",
                                        R"({"expires":"2020-01-01T00:00:00Z"})", member.key);
    expect_refusal(nothing, 403, "expired");
    nothing = co_await lab.ask_with_key(Verb::post, "/v1/tokens", R"({"tenant":"beta"})",
                                        member.key);
    expect_refusal(nothing, 403, "good for nothing");
    expect_refusal(co_await lab.ask_with_key(Verb::post, "/v1/tokens", R"({"agnet":"a"})",
                                             member.key),
                   400, "agnet");
  });
}

TEST_F(ApiTenantsTest, RevocationTakesAllThatWasNarrowedAlong) {
  with_api([](ApiLab& lab) -> Task<void> {
    co_await add_tenant(lab, "acme");
    auto member = co_await add_key(lab, "acme", "{}");
    std::string token = co_await mint(lab, member.key);
    std::string other = co_await mint(lab, member.key);
    std::string child = co_await mint(lab, token, R"({"actions":["sandbox.read"]})");
    auto copy = wire::narrow(wire::parse_macaroon(token).value(),
                             "expires < 2020-01-01T00:00:00Z");
    // Even where what is shown is a copy that has long expired.
    std::string body = R"({"token":")" + wire::to_string(copy.value()) + "\"}";
    auto revoked = co_await lab.ask_with_key(Verb::post, "/v1/tokens/revoke", body, member.key);
    EXPECT_EQ(revoked.status, 204u) << revoked.message();
    EXPECT_EQ(co_await status_with(lab, token), 401u);
    EXPECT_EQ(co_await status_with(lab, child), 401u);
    EXPECT_EQ(co_await status_with(lab, other), 200u);

    // By its id; and that it stays revoked when others are, too, which forgets what may be.
    std::string id = wire::parse_macaroon(other).value().identifier;
    body = R"({"tokenID":")" + id + "\"}";
    revoked = co_await lab.ask_with_key(Verb::post, "/v1/tokens/revoke", body, member.key);
    EXPECT_EQ(revoked.status, 204u) << revoked.message();
    EXPECT_EQ(co_await status_with(lab, other), 401u);
    EXPECT_EQ(co_await status_with(lab, token), 401u);
    EXPECT_EQ(co_await status_with(lab, member.key), 200u);
  });
}

TEST_F(ApiTenantsTest, TokensAreRevokedByTheirKeyOrWhoManagesIt) {
  with_api([](ApiLab& lab) -> Task<void> {
    co_await add_tenant(lab, "acme");
    co_await add_tenant(lab, "beta");
    auto owner = co_await add_key(lab, "acme", R"({"role":"owner"})");
    auto member = co_await add_key(lab, "acme", "{}");
    auto peer = co_await add_key(lab, "acme", "{}");
    auto stranger = co_await add_key(lab, "beta", R"({"role":"owner"})");
    std::string token = co_await mint(lab, member.key);
    std::string child = co_await mint(lab, token, R"({"agent":"a"})");
    std::string of_owner = co_await mint(lab, owner.key);
    std::string body = R"({"token":")" + token + "\"}";
    // What a sub-agent holds must not end what its maker holds.
    for (const std::string& who : {token, child, peer.key, stranger.key}) {
      auto reply = co_await lab.ask_with_key(Verb::post, "/v1/tokens/revoke", body, who);
      expect_refusal(reply, 404, "token not found");
    }
    EXPECT_EQ(co_await status_with(lab, token), 200u);
    auto narrow = co_await add_key(lab, "acme",
                                   R"({"role":"owner","policy":{"actions":["key.manage"]}})");
    auto reply = co_await lab.ask_with_key(Verb::post, "/v1/tokens/revoke",
                                           R"({"token":")" + of_owner + "\"}", narrow.key);
    expect_refusal(reply, 403, "within.");
    reply = co_await lab.ask_with_key(Verb::post, "/v1/tokens/revoke", body, owner.key);
    EXPECT_EQ(reply.status, 204u) << reply.message();
    EXPECT_EQ(co_await status_with(lab, token), 401u);
    EXPECT_EQ(co_await status_with(lab, of_owner), 200u);
  });
}

TEST_F(ApiTenantsTest, WhatIsNoTokenOfThisServerIsNotRevoked) {
  with_api([](ApiLab& lab) -> Task<void> {
    auto member = co_await add_key(lab, "default", "{}");
    auto forged = wire::mint(std::string(32, 'x'), member.id + ".0123456789abcdef");
    struct Case {
      std::string body;
      unsigned status;
    };
    const Case cases[] = {
        {R"({})", 400},
        {R"({"token":"x","tokenID":"y"})", 400},
        {R"({"token":"e2b_00"})", 400},
        {R"({"token":")" + member.key + "\"}", 400},
        {R"({"token":")" + wire::to_string(forged.value()) + "\"}", 400},
        {R"({"tokenID":"kgone.0123456789abcdef"})", 404},
        {R"({"tokenID":")" + member.id + ".0123456789ABCDEF\"}", 404},
        {R"({"tokenID":")" + member.id + ".01\"}", 404},
        {R"({"tokenID":"../x"})", 404},
    };
    for (const Case& each : cases) {
      auto reply =
          co_await lab.ask_with_key(Verb::post, "/v1/tokens/revoke", each.body, member.key);
      EXPECT_EQ(reply.status, each.status) << each.body << " " << reply.message();
    }
  });
}

TEST_F(ApiTenantsTest, AKeysTokensGoWithIt) {
  with_api([](ApiLab& lab) -> Task<void> {
    auto member = co_await add_key(lab, "default", "{}");
    std::string token = co_await mint(lab, member.key);
    EXPECT_EQ((co_await lab.ask(Verb::delete_, "/v1/keys/" + member.id)).status, 204u);
    EXPECT_EQ(co_await status_with(lab, member.key), 401u);
    EXPECT_EQ(co_await status_with(lab, token), 401u);
  });
}

TEST_F(ApiTenantsTest, WhatAKeyWasGivenForSandboxesGoesWithIt) {
  with_api([](ApiLab& lab) -> Task<void> {
    auto member = co_await add_key(lab, "default", "{}");
    auto made = co_await lab.ask_with_key(Verb::post, "/v2/sandboxes", R"({"templateID":"base"})",
                                          member.key);
    CO_ASSERT_TRUE(made.status == 201);
    std::string id = text(made, "sandboxID");
    std::string given = text(made, "envdAccessToken");
    auto holds = [&] {
      auto told = lab.node.egress.at(id);
      return json::serialize(told).find(given) != std::string::npos;
    };
    EXPECT_TRUE(holds());
    EXPECT_EQ((co_await lab.ask(Verb::delete_, "/v1/keys/" + member.id)).status, 204u);
    EXPECT_FALSE(holds()) << "the gate was told before the answer";
    EXPECT_TRUE(lab.node.boxes.contains(id));
  });
}

}  // namespace
}  // namespace hako::test
