// Keys, as the operator and the tenants' own people manage them.
#include "api/key_records.h"
#include "api/keys.h"
#include "store/store.h"
#include "support/api_fixture.h"

namespace hako::test {
namespace {

using http::Verb;
using namespace std::chrono_literals;

using ApiKeysTest = ApiFixture;

TEST_F(ApiKeysTest, AKeyIsShownOnce) {
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

TEST_F(ApiKeysTest, WrongKeysAreRefusedByName) {
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

TEST_F(ApiKeysTest, OnlyOwnersManageKeys) {
  with_api([](ApiLab& lab) -> Task<void> {
    co_await add_tenant(lab, "acme");
    auto owner = co_await make_key(lab, "acme", R"({"role":"owner"})");
    for (const char* role : {"member", "viewer", "auditor"}) {
      auto made = co_await make_key(lab, "acme", R"({"role":")" + std::string(role) + "\"}");
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

TEST_F(ApiKeysTest, KeysOfOtherTenantsDoNotExist) {
  with_api([](ApiLab& lab) -> Task<void> {
    co_await add_tenant(lab, "acme");
    co_await add_tenant(lab, "beta");
    auto owner = co_await make_key(lab, "acme", R"({"role":"owner"})");
    auto foreign = co_await make_key(lab, "beta", R"({"role":"viewer"})");
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

TEST_F(ApiKeysTest, AKeyMakesOnlyKeysWithinItself) {
  with_api([](ApiLab& lab) -> Task<void> {
    co_await add_tenant(lab, "acme");
    auto owner = co_await make_key(
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

TEST_F(ApiKeysTest, AKeyDoesNotManageWhatIsWiderOrBeside) {
  with_api([](ApiLab& lab) -> Task<void> {
    co_await add_tenant(lab, "acme");
    auto whole = co_await make_key(lab, "acme", R"({"role":"owner"})");
    auto beside = co_await make_key(lab, "acme", R"({"policy":{"agent":"test"}})");
    auto below = co_await make_key(lab, "acme", R"({"policy":{"agent":"build/a"}})");
    auto narrow = co_await make_key(
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

TEST_F(ApiKeysTest, AChangeCountsFromTheNextRequestOn) {
  with_api([](ApiLab& lab) -> Task<void> {
    auto made = co_await make_key(lab, "default", R"({"user":"ann"})");
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

TEST_F(ApiKeysTest, RotationEndsTheOldSecretAtOnceOrAfterItsGrace) {
  with_api([](ApiLab& lab) -> Task<void> {
    auto made = co_await make_key(lab, "default", "{}");
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

TEST_F(ApiKeysTest, TheLastOwnerStaysUnlessTheOperatorSaysSo) {
  with_api([](ApiLab& lab) -> Task<void> {
    co_await add_tenant(lab, "acme");
    auto owner = co_await make_key(lab, "acme", R"({"role":"owner"})");
    std::string path = "/v1/keys/" + owner.id;
    expect_refusal(co_await lab.ask_with_key(Verb::delete_, path, "", owner.key), 409,
                   "last owner");
    expect_refusal(
        co_await lab.ask_with_key(Verb::patch, path, R"({"role":"member"})", owner.key), 409,
        "last owner");
    auto second = co_await make_key(lab, "acme", R"({"role":"owner"})");
    EXPECT_EQ((co_await lab.ask_with_key(Verb::delete_, path, "", owner.key)).status, 204u);
    EXPECT_EQ((co_await lab.ask_in("acme", Verb::delete_, "/v1/keys/" + second.id)).status, 204u);
  });
}

TEST_F(ApiKeysTest, TheOperatorsKeyIsThatOfTheFile) {
  with_api([](ApiLab& lab) -> Task<void> {
    expect_refusal(co_await lab.ask(Verb::delete_, "/v1/keys/operator"), 409, "key file");
    expect_refusal(co_await lab.ask(Verb::post, "/v1/keys/operator/rotate"), 409, "key file");
    expect_refusal(co_await lab.ask(Verb::patch, "/v1/keys/operator", "{}"), 409, "key file");
    auto owner = co_await make_key(lab, "default", R"({"role":"owner"})");
    expect_refusal(co_await lab.ask_with_key(Verb::get, "/v1/keys/operator", "", owner.key), 404,
                   "key not found");
    auto list = co_await lab.ask_with_key(Verb::get, "/v1/keys", "", owner.key);
    EXPECT_EQ(list.body.at("keys").as_array().size(), 1u);
  });
}

TEST_F(ApiKeysTest, ATenantHasSoManyKeysAndNoMore) {
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
    (void)co_await make_key(lab, "acme", "{}");
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

TEST_F(ApiKeysTest, AKeyThatEndsWhileItsRequestArrivesMakesNothing) {
  with_api([](ApiLab& lab) -> Task<void> {
    co_await add_tenant(lab, "acme");
    for (std::string target : {"/v1/keys", "/v1/tokens"}) {
      auto removed = co_await make_key(lab, "acme", R"({"role":"owner"})");
      auto answer = co_await slowly(lab, target, "{}", removed.key,
                                    end_key(lab, "acme", removed.id));
      EXPECT_TRUE(answer.starts_with("HTTP/1.1 401")) << answer;
      auto rotated = co_await make_key(lab, "acme", R"({"role":"owner"})");
      answer = co_await slowly(lab, target, "{}", rotated.key,
                               rotate_key(lab, "acme", rotated.id));
      EXPECT_TRUE(answer.starts_with("HTTP/1.1 401")) << answer;
    }
    // With a grace it still makes tokens, which end with it.
    auto key = co_await make_key(lab, "acme", R"({"role":"owner"})");
    auto answer = co_await slowly(lab, "/v1/keys", "{}", key.key,
                                  rotate_key(lab, "acme", key.id, R"({"grace":600})"));
    EXPECT_TRUE(answer.starts_with("HTTP/1.1 403")) << answer;
    auto keys = co_await lab.ask_in("acme", Verb::get, "/v1/keys");
    EXPECT_EQ(keys.body.at("keys").as_array().size(), 3u);
  });
}

}  // namespace
}  // namespace hako::test
