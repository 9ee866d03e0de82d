// Tokens, as whoever holds a key makes and revokes them.
#include "support/api_fixture.h"
#include "wire/macaroon.h"

namespace hako::test {
namespace {

using http::Verb;

using ApiTokensTest = ApiFixture;

TEST_F(ApiTokensTest, ATokenIsItsKeyNarrowed) {
  with_api([](ApiLab& lab) -> Task<void> {
    co_await add_tenant(lab, "acme");
    auto member = co_await make_key(lab, "acme", "{}");
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

TEST_F(ApiTokensTest, RevocationTakesAllThatWasNarrowedAlong) {
  with_api([](ApiLab& lab) -> Task<void> {
    co_await add_tenant(lab, "acme");
    auto member = co_await make_key(lab, "acme", "{}");
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

TEST_F(ApiTokensTest, TokensAreRevokedByTheirKeyOrWhoManagesIt) {
  with_api([](ApiLab& lab) -> Task<void> {
    co_await add_tenant(lab, "acme");
    co_await add_tenant(lab, "beta");
    auto owner = co_await make_key(lab, "acme", R"({"role":"owner"})");
    auto member = co_await make_key(lab, "acme", "{}");
    auto peer = co_await make_key(lab, "acme", "{}");
    auto stranger = co_await make_key(lab, "beta", R"({"role":"owner"})");
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
    auto narrow = co_await make_key(lab, "acme",
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

TEST_F(ApiTokensTest, WhatIsNoTokenOfThisServerIsNotRevoked) {
  with_api([](ApiLab& lab) -> Task<void> {
    auto member = co_await make_key(lab, "default", "{}");
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

TEST_F(ApiTokensTest, AKeysTokensGoWithIt) {
  with_api([](ApiLab& lab) -> Task<void> {
    auto member = co_await make_key(lab, "default", "{}");
    std::string token = co_await mint(lab, member.key);
    EXPECT_EQ((co_await lab.ask(Verb::delete_, "/v1/keys/" + member.id)).status, 204u);
    EXPECT_EQ(co_await status_with(lab, member.key), 401u);
    EXPECT_EQ(co_await status_with(lab, token), 401u);
  });
}

TEST_F(ApiTokensTest, WhatAKeyWasGivenForSandboxesGoesWithIt) {
  with_api([](ApiLab& lab) -> Task<void> {
    auto member = co_await make_key(lab, "default", "{}");
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
