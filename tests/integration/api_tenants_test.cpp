// Tenants, as the operator and their own people manage them.
#include "support/api_fixture.h"

namespace hako::test {
namespace {

using http::Verb;

using ApiTenantsTest = ApiFixture;

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
    auto owner = co_await make_key(lab, "acme", R"({"role":"owner"})");
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
      auto made = co_await make_key(lab, "acme", each.body);
      auto shown = co_await lab.ask_with_key(Verb::get, "/v1/tenants/acme", "", made.key);
      CO_ASSERT_TRUE(shown.status == 200);
      EXPECT_EQ(shown.body.as_object().contains("usage"), each.told) << each.body;
    }
  });
}

TEST_F(ApiTenantsTest, ASuspendedOnesKeysAndTokensAreRefused) {
  with_api([](ApiLab& lab) -> Task<void> {
    co_await add_tenant(lab, "acme");
    auto member = co_await make_key(lab, "acme", "{}");
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
    auto member = co_await make_key(lab, "acme", "{}");
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

}  // namespace
}  // namespace hako::test
