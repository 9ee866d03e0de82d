// Links from one sandbox to another.
#include "support/api_fixture.h"

namespace hako::test {
namespace {

using http::Verb;

using ApiLinksTest = ApiOpenFixture;

/// From now on the node does what it is told of the sandbox `id`, and is not heard to say so.
void lose_answers(ApiLab& lab, const std::string& id) {
  lab.node.before = [&lab, id](const std::string& method, const json::object& body) {
    std::optional<FakeNode::Answer> answer;
    if (method == "box.egress" && body.at("box").as_string() == id) {
      lab.node.egress[id] = body;
      answer = Error(ErrorCode::timed_out, "no answer");
    }
    return answer;
  };
}

TEST_F(ApiLinksTest, LinksLeadFromOneToTheOther) {
  with_api([](ApiLab& lab) -> Task<void> {
    std::string a = co_await lab.create(), b = co_await lab.create();
    auto body = [](const std::string& from, const std::string& to, const std::string& more) {
      return R"({"from":")" + from + R"(","to":")" + to + R"(","port":8080)" + more + "}";
    };
    auto made = co_await lab.ask(Verb::post, "/v1/links", body(a, b, R"(,"name":"target.box")"));
    EXPECT_EQ(made.status, 201u) << made.message();
    std::vector<policy::EgressLink> links = lab.node.policy_of(a).links;
    CO_ASSERT_TRUE(links.size() == 1);
    EXPECT_EQ(links[0], (policy::EgressLink{"target.box", b, 8080}));
    EXPECT_TRUE(lab.node.policy_of(b).links.empty());
    auto twin = co_await lab.ask(Verb::post, "/v1/links", body(a, b, R"(,"name":"target.box")"));
    expect_refusal(twin, 409, "target.box");
    auto second = co_await lab.ask(Verb::post, "/v1/links", body(a, b, ""));
    EXPECT_EQ(second.body.at("name"), json::value(b + ".box"));
    std::string name = std::string(60, 'a') + "." + std::string(60, 'b') + ".box";
    std::string named = R"(,"name":")" + name + "\"";
    auto longer = co_await lab.ask(Verb::post, "/v1/links", body(a, b, named));
    EXPECT_EQ(longer.status, 201u) << longer.message();
    CO_ASSERT_TRUE(lab.node.policy_of(a).links.size() == 3);
    EXPECT_EQ(lab.node.policy_of(a).links[2].name, name);
    auto removed = co_await lab.ask(
        Verb::delete_, "/v1/links/" + std::string(longer.body.at("linkID").as_string()));
    EXPECT_EQ(removed.status, 204u);
    // Other rules leave them as they are.
    (void)co_await lab.ask(Verb::put, "/sandboxes/" + a + "/network", "{}");
    EXPECT_EQ(lab.node.policy_of(a).links.size(), 2u);
    auto checked = co_await lab.ask(
        Verb::post, "/v1/policy/check",
        R"({"box":")" + a + R"(","destination":{"name":"target.box","port":8080}})");
    EXPECT_EQ(checked.body.at("allowed"), true);

    std::string id(made.body.at("linkID").as_string());
    auto gone = co_await lab.ask(Verb::delete_, "/v1/links/" + id);
    EXPECT_EQ(gone.status, 204u);
    EXPECT_EQ(lab.node.policy_of(a).links.size(), 1u);
    expect_refusal(co_await lab.ask(Verb::delete_, "/v1/links/" + id), 404, id);
    (void)co_await lab.ask(Verb::delete_, "/sandboxes/" + b);
    auto list = co_await lab.ask(Verb::get, "/v1/links");
    EXPECT_TRUE(list.body.at("links").as_array().empty());

    expect_refusal(co_await lab.ask(Verb::post, "/v1/links", body(a, a, "")), 400, "another");
    expect_refusal(co_await lab.ask(Verb::post, "/v1/links", body(a, "inone", "")), 404, "inone");
    for (const char* name : {"target", ".box", "a..box", "A.box", "a.box:80", "*.box", "a.boxes"}) {
      auto bad = co_await lab.ask(Verb::post, "/v1/links",
                                  body(a, b, ",\"name\":\"" + std::string(name) + "\""));
      expect_refusal(bad, 400, "name");
    }
  });
}

TEST_F(ApiLinksTest, DataDoesNotFlowDownALink) {
  with_api([](ApiLab& lab) -> Task<void> {
    std::string a = co_await lab.create(), b = co_await lab.create();
    std::string high = co_await lab.create(box_with(R"("label":"internal")"));
    auto link = [&](const std::string& from, const std::string& to) {
      std::string body = R"({"from":")" + from + R"(","to":")" + to + R"(","port":1})";
      return lab.ask(Verb::post, "/v1/links", std::move(body));
    };
    expect_refusal(co_await link(a, high), 403, "(rule link.label)");
    expect_refusal(co_await link(high, a), 403, "(rule link.label)");
    EXPECT_EQ((co_await link(a, b)).status, 201u);
    EXPECT_EQ((co_await link(b, a)).status, 201u);
    auto raised =
        co_await lab.ask(Verb::post, "/v1/sandboxes/" + b + "/label", R"({"label":"internal"})");
    EXPECT_EQ(raised.status, 200u);
    EXPECT_TRUE(lab.node.policy_of(a).links.empty());
    EXPECT_TRUE(lab.node.policy_of(b).links.empty());
    auto list = co_await lab.ask(Verb::get, "/v1/links");
    EXPECT_TRUE(list.body.at("links").as_array().empty());
    EXPECT_EQ((co_await link(b, high)).status, 201u);
    // A link between what somebody may not see does not exist for them.
    std::string low = key_cleared_for(lab, "public");
    list = co_await lab.ask_with_key(Verb::get, "/v1/links", "", low);
    EXPECT_TRUE(list.body.at("links").as_array().empty());
  });
}

TEST_F(ApiLinksTest, NoLabelRisesWhileALinkMayBeThereThatNoRecordHas) {
  with_api([](ApiLab& lab) -> Task<void> {
    std::string a = co_await lab.create(), b = co_await lab.create();
    std::string raise = "/v1/sandboxes/" + b + "/label";
    lose_answers(lab, a);
    auto linked = co_await lab.ask(Verb::post, "/v1/links",
                                   R"({"from":")" + a + R"(","to":")" + b + R"(","port":1})");
    EXPECT_EQ(linked.status, 504u) << linked.message();
    auto list = co_await lab.ask(Verb::get, "/v1/links");
    EXPECT_TRUE(list.body.at("links").as_array().empty());
    EXPECT_EQ(lab.node.policy_of(a).links.size(), 1u);
    expect_refusal(co_await lab.ask(Verb::post, raise, R"({"label":"internal"})"), 503,
                   "another sandbox");
    auto detail = co_await lab.ask(Verb::get, "/sandboxes/" + b);
    EXPECT_EQ(detail.body.at("label"), "public");

    // To another tenant's no link leads.
    EXPECT_EQ((co_await lab.ask(Verb::post, "/v1/tenants", R"({"name":"acme"})")).status, 201u);
    auto made = co_await lab.ask_in("acme", Verb::post, "/v2/sandboxes", R"({"templateID":"base"})");
    std::string theirs = "/v1/sandboxes/" + std::string(made.body.at("sandboxID").as_string());
    auto risen = co_await lab.ask_in("acme", Verb::post, theirs + "/label", R"({"label":"internal"})");
    EXPECT_EQ(risen.status, 200u) << risen.message();

    lab.node.before = nullptr;
    EXPECT_EQ((co_await lab.ask(Verb::post, raise, R"({"label":"internal"})")).status, 200u);
    EXPECT_TRUE(lab.node.policy_of(a).links.empty());
  });
}

}  // namespace
}  // namespace hako::test
