// What goes out of sandboxes and who may read them, as the API's clients see it.
#include "store/store.h"
#include "support/api_fixture.h"

namespace hako::test {
namespace {

using http::Verb;
using policy::EgressLevel;
using namespace std::chrono_literals;

using ApiEgressTest = ApiOpenFixture;

bool reaches(const policy::EgressPolicy& policy, const char* name) {
  return policy::may_connect(policy, {.name = name, .port = 443}).allowed;
}

TEST_F(ApiEgressTest, ASandboxGetsWhatItsLabelAndTheOperatorAllow) {
  with_api([](ApiLab& lab) -> Task<void> {
    std::string open = co_await lab.create(box_with(R"("egress":"internet")"));
    EXPECT_TRUE(reaches(lab.node.policy_of(open), "a.example"));
    auto detail = co_await lab.ask(Verb::get, "/sandboxes/" + open);
    EXPECT_EQ(detail.body.at("allowInternetAccess"), true);
    EXPECT_EQ(detail.body.at("label"), "public");
    EXPECT_EQ(detail.body.at("egress").at("level"), "internet");

    std::string listed = co_await lab.create(
        box_with(R"("metadata":{"hako/label":"internal","hako/allow":"a.example"})"));
    EXPECT_TRUE(reaches(lab.node.policy_of(listed), "a.example"));
    EXPECT_FALSE(reaches(lab.node.policy_of(listed), "b.example"));
    detail = co_await lab.ask(Verb::get, "/sandboxes/" + listed);
    EXPECT_EQ(detail.body.at("allowInternetAccess"), false);
    EXPECT_EQ(detail.body.at("label"), "internal");
    EXPECT_EQ(detail.body.at("egress").at("level"), "allow");
    auto list = co_await lab.ask(Verb::get, "/v2/sandboxes?metadata=hako%252Flabel%3Dinternal");
    EXPECT_EQ(list.body.at(0).at("label"), "internal");

    // As E2B's SDK asks, who knows no labels: it gets what there is.
    std::string capped = co_await lab.create(
        box_with(R"("label":"confidential","allow_internet_access":true)"));
    EXPECT_FALSE(reaches(lab.node.policy_of(capped), "a.example"));
    std::string nothing = co_await lab.create();
    EXPECT_FALSE(reaches(lab.node.policy_of(nothing), "a.example"));
  });
}

TEST_F(ApiEgressTest, ConfidentialAndTheInternetIsRefused) {
  with_api([](ApiLab& lab) -> Task<void> {
    for (const char* label : {"internal", "confidential", "secret"}) {
      std::string body = R"("egress":"internet","label":")" + std::string(label) + "\"";
      auto reply = co_await lab.ask(Verb::post, "/v2/sandboxes", box_with(body));
      expect_refusal(reply, 403, std::string("(rule label.") + label);
    }
    EXPECT_TRUE(lab.node.boxes.empty());
    auto unread = co_await lab.ask(Verb::post, "/v2/sandboxes", box_with(R"("label":"top")"));
    expect_refusal(unread, 400, "label must be");
  });
}

TEST_F(ApiEgressTest, TheOperatorsCeilingIsAboveAll) {
  lab_.config.egress.ceiling = EgressLevel::none;
  with_api([](ApiLab& lab) -> Task<void> {
    auto reply = co_await lab.ask(Verb::post, "/v2/sandboxes", box_with(R"("egress":"internet")"));
    expect_refusal(reply, 403, "(rule platform.ceiling)");
    std::string id = co_await lab.create(box_with(R"("allow_internet_access":true)"));
    EXPECT_FALSE(reaches(lab.node.policy_of(id), "a.example"));
  });
}

TEST_F(ApiEgressTest, NewRulesHoldBeforeTheyAreAnswered) {
  with_api([](ApiLab& lab) -> Task<void> {
    std::string id = co_await lab.create(box_with(R"("allow_internet_access":true)"));
    std::string path = "/sandboxes/" + id + "/network";
    auto changed = co_await lab.ask(
        Verb::put, path, R"({"allowOut":["a.example"],"denyOut":["0.0.0.0/0"]})");
    EXPECT_EQ(changed.status, 204u);
    EXPECT_EQ(lab.node.calls.back(), "box.egress");
    EXPECT_TRUE(reaches(lab.node.policy_of(id), "a.example"));
    EXPECT_FALSE(reaches(lab.node.policy_of(id), "b.example"));
    auto detail = co_await lab.ask(Verb::get, "/sandboxes/" + id);
    EXPECT_EQ(detail.body.at("allowInternetAccess"), false);
    EXPECT_EQ(detail.body.at("network").at("allowOut").at(0), "a.example");

    // What the node could not do has not been done.
    lab.node.before = [](const std::string& method, const json::object&) {
      std::optional<FakeNode::Answer> answer;
      if (method == "box.egress") answer = Error(ErrorCode::unavailable, "no gate at /run/x");
      return answer;
    };
    expect_refusal(co_await lab.ask(Verb::put, path, "{}"), 503, "not available");
    detail = co_await lab.ask(Verb::get, "/sandboxes/" + id);
    EXPECT_EQ(detail.body.at("network").at("allowOut").at(0), "a.example");
    lab.node.before = nullptr;

    std::string labelled = co_await lab.create(box_with(R"("label":"secret")"));
    expect_refusal(co_await lab.ask(Verb::put, "/sandboxes/" + labelled + "/network",
                                    R"({"egress":"internet"})"),
                   403, "(rule label.secret)");
    expect_refusal(co_await lab.ask(Verb::put, path, R"({"egressProxy":{"address":"p:1"}})"), 501,
                   "egressProxy");
    lab.node.boxes.erase(id);
    expect_refusal(co_await lab.ask(Verb::put, path, "{}"), 404, id);
  });
}

TEST_F(ApiEgressTest, ALabelRisesOnlyAndClosesFirst) {
  with_api([](ApiLab& lab) -> Task<void> {
    std::string id = co_await lab.create(box_with(R"("egress":"internet")"));
    std::string path = "/v1/sandboxes/" + id + "/label";
    lab.node.before = [](const std::string& method, const json::object&) {
      std::optional<FakeNode::Answer> answer;
      if (method == "box.egress") answer = Error(ErrorCode::timed_out, "no answer");
      return answer;
    };
    auto failed = co_await lab.ask(Verb::post, path, R"({"label":"confidential"})");
    EXPECT_EQ(failed.status, 504u);
    auto detail = co_await lab.ask(Verb::get, "/sandboxes/" + id);
    EXPECT_EQ(detail.body.at("label"), "public");

    lab.node.before = nullptr;
    auto raised = co_await lab.ask(Verb::post, path, R"({"label":"confidential"})");
    EXPECT_EQ(raised.status, 200u) << raised.message();
    EXPECT_EQ(raised.body.at("label"), "confidential");
    EXPECT_FALSE(reaches(lab.node.policy_of(id), "a.example"));
    detail = co_await lab.ask(Verb::get, "/sandboxes/" + id);
    EXPECT_EQ(detail.body.at("label"), "confidential");
    EXPECT_EQ(detail.body.at("egress").at("level"), "none");
    // Its ports were open to whoever knew its name.
    json::value token = raised.body.at("trafficAccessToken");
    json::object ingress = lab.node.egress.at(id).at("ingress").as_object();
    EXPECT_TRUE(ingress.contains("traffic_token"));
    EXPECT_NE(ingress.at("traffic_token"), token);
    EXPECT_TRUE(takes(ingress, token, "sandbox.ports"));
    EXPECT_EQ(detail.body.at("network").at("allowPublicTraffic"), false);

    expect_refusal(co_await lab.ask(Verb::post, path, R"({"label":"internal"})"), 409,
                   "(rule label.falls)");
    auto at_least = co_await lab.ask(Verb::post, path, R"({"label":"internal","atLeast":true})");
    EXPECT_EQ(at_least.status, 200u);
    EXPECT_EQ(at_least.body.at("label"), "confidential");
    expect_refusal(co_await lab.ask(Verb::post, path, "{}"), 400, "label is required");
    expect_refusal(
        co_await lab.ask(Verb::post, "/v1/sandboxes/inone/label", R"({"label":"secret"})"), 404,
        "inone");
    // Asking for the internet again does not bring it back.
    auto again = co_await lab.ask(Verb::put, "/sandboxes/" + id + "/network",
                                  R"({"allow_internet_access":true,"egress":"none"})");
    EXPECT_EQ(again.status, 204u);
    EXPECT_FALSE(reaches(lab.node.policy_of(id), "a.example"));
  });
}

TEST_F(ApiEgressTest, WhatIsLabelledIsOpenToNobody) {
  with_api([](ApiLab& lab) -> Task<void> {
    auto made = co_await lab.ask(Verb::post, "/sandboxes", box_with(R"("label":"internal")"));
    EXPECT_EQ(made.status, 201u);
    EXPECT_TRUE(made.body.as_object().contains("envdAccessToken"));
    json::object ingress = lab.node.last_create.at("ingress").as_object();
    EXPECT_TRUE(ingress.contains("traffic_token"));
    EXPECT_TRUE(takes(ingress, made.body.at("trafficAccessToken"), "sandbox.ports"));
    // One without a token cannot get a label: whoever reaches the gate could read it.
    auto open = co_await lab.ask(Verb::post, "/sandboxes", box_with(R"("secure":false)"));
    std::string id(open.body.at("sandboxID").as_string());
    expect_refusal(
        co_await lab.ask(Verb::post, "/v1/sandboxes/" + id + "/label", R"({"label":"internal"})"),
        409, "(rule label.token)");
  });
}

TEST_F(ApiEgressTest, AKeyWithoutClearanceSeesNothing) {
  with_api([](ApiLab& lab) -> Task<void> {
    std::string id = co_await lab.create(box_with(R"("label":"confidential")"));
    std::string low = key_cleared_for(lab, "internal");
    for (const char* path : {"/sandboxes/", "/v1/sandboxes/"}) {
      for (const char* what : {"", "/metrics", "/logs", "/egress"}) {
        auto reply = co_await lab.ask_with_key(Verb::get, path + id + what, "", low);
        EXPECT_EQ(reply.status, 404u) << path << what;
      }
    }
    auto connect = co_await lab.ask_with_key(Verb::post, "/sandboxes/" + id + "/connect",
                                             R"({"timeout":1})", low);
    EXPECT_EQ(connect.status, 404u);
    EXPECT_EQ(json::serialize(connect.body).find("Token"), std::string::npos);
    for (const char* path : {"/v2/sandboxes", "/sandboxes"}) {
      auto list = co_await lab.ask_with_key(Verb::get, path, "", low);
      EXPECT_TRUE(list.body.as_array().empty()) << path;
    }
    auto all = co_await lab.ask_with_key(Verb::get, "/sandboxes/metrics?sandbox_ids=" + id, "", low);
    EXPECT_TRUE(all.body.at("sandboxes").as_object().empty());
    auto killed = co_await lab.ask_with_key(Verb::delete_, "/sandboxes/" + id, "", low);
    EXPECT_EQ(killed.status, 404u);
    EXPECT_TRUE(lab.node.boxes.contains(id));
    auto own = co_await lab.ask_with_key(Verb::post, "/v2/sandboxes",
                                         box_with(R"("label":"secret")"), low);
    expect_refusal(own, 403, "(rule label.clearance)");
    auto theirs = co_await lab.ask(Verb::get, "/sandboxes/" + id);
    EXPECT_EQ(theirs.status, 200u);
  });
}

TEST_F(ApiEgressTest, ALabelThatRisesTakesTheAccessOfThoseWhoAreNotCleared) {
  with_api([](ApiLab& lab) -> Task<void> {
    auto made = co_await lab.ask(Verb::post, "/v2/sandboxes", box_with(""));
    std::string id(made.body.at("sandboxID").as_string());
    std::string low = key_cleared_for(lab, "internal");
    auto seen = co_await lab.ask_with_key(Verb::get, "/sandboxes/" + id, "", low);
    json::value of_low = seen.body.at("envdAccessToken");
    json::value of_operator = made.body.at("envdAccessToken");
    EXPECT_NE(of_low, of_operator);
    auto ingress = [&] { return lab.node.egress.at(id).at("ingress").as_object(); };
    EXPECT_TRUE(takes(ingress(), of_low, "files.read"));

    std::string path = "/v1/sandboxes/" + id + "/label";
    EXPECT_EQ((co_await lab.ask(Verb::post, path, R"({"label":"internal"})")).status, 200u);
    EXPECT_TRUE(takes(ingress(), of_low, "files.read"));
    // Nobody takes a sandbox out of their own sight.
    auto own = co_await lab.ask_with_key(Verb::post, path, R"({"label":"secret"})", low);
    expect_refusal(own, 403, "(rule label.clearance)");
    EXPECT_EQ((co_await lab.ask(Verb::post, path, R"({"label":"confidential"})")).status, 200u);
    EXPECT_FALSE(takes(ingress(), of_low, "files.read"));
    EXPECT_TRUE(takes(ingress(), of_operator, "files.read"));
  });
}

TEST_F(ApiEgressTest, E2bsRulesNarrowWhatWasAskedForInOurWords) {
  with_api([](ApiLab& lab) -> Task<void> {
    std::string id = co_await lab.create(box_with(R"("egress":"allow","allow":["a.example:443"])"));
    std::string path = "/sandboxes/" + id + "/network";
    auto wider = co_await lab.ask(Verb::put, path, R"({"allowOut":["0.0.0.0/0"]})");
    EXPECT_EQ(wider.status, 204u);
    EXPECT_TRUE(reaches(lab.node.policy_of(id), "a.example"));
    EXPECT_FALSE(reaches(lab.node.policy_of(id), "b.example"));
    auto closed = co_await lab.ask(Verb::put, path, R"({"allow_internet_access":false})");
    EXPECT_EQ(closed.status, 204u);
    EXPECT_FALSE(reaches(lab.node.policy_of(id), "a.example"));

    std::string open = co_await lab.create(box_with(R"("egress":"internet")"));
    path = "/sandboxes/" + open + "/network";
    closed = co_await lab.ask(Verb::put, path, R"({"allow_internet_access":false})");
    EXPECT_EQ(closed.status, 204u);
    EXPECT_FALSE(reaches(lab.node.policy_of(open), "a.example"));
    // More than a risen label allows was granted once: what is left of it can still be changed.
    (void)co_await lab.ask(Verb::post, "/v1/sandboxes/" + open + "/label",
                           R"({"label":"confidential"})");
    EXPECT_EQ((co_await lab.ask(Verb::put, path, "{}")).status, 204u);
    EXPECT_FALSE(reaches(lab.node.policy_of(open), "a.example"));
    expect_refusal(co_await lab.ask(Verb::put, path, R"({"egress":"internet"})"), 403,
                   "(rule label.confidential)");
  });
}

TEST_F(ApiEgressTest, WhatIsNotWrittenDownIsTakenBack) {
  with_api([](ApiLab& lab) -> Task<void> {
    std::string a = co_await lab.create(box_with(R"("egress":"none")"));
    std::string b = co_await lab.create();
    // An error of the database at each change of a record.
    run_sql(lab, "CREATE TRIGGER broken BEFORE UPDATE ON sandboxes BEGIN "
                      "SELECT json('broken'); END");
    auto wider = co_await lab.ask(Verb::put, "/sandboxes/" + a + "/network",
                                  R"({"egress":"internet"})");
    EXPECT_GE(wider.status, 500u);
    EXPECT_TRUE(reaches(lab.node.policy_of(a), "a.example"));
    std::string raise = "/v1/sandboxes/" + b + "/label";
    EXPECT_GE((co_await lab.ask(Verb::post, raise, R"({"label":"internal"})")).status, 500u);
    EXPECT_FALSE(reaches(lab.node.policy_of(a), "a.example"));
    EXPECT_TRUE(lab.node.egress.at(b).at("ingress").as_object().contains("traffic_token"));

    run_sql(lab, "DROP TRIGGER broken");
    std::string c = co_await lab.create();
    auto raised = co_await lab.ask(Verb::post, "/v1/sandboxes/" + c + "/label",
                                   R"({"label":"internal"})");
    EXPECT_EQ(raised.status, 200u) << raised.message();
    // Nor has it a token that nobody was given.
    EXPECT_FALSE(lab.node.egress.at(b).at("ingress").as_object().contains("traffic_token"));
  });
}

TEST_F(ApiEgressTest, DecisionsOfTheGateCanBeReadAndWaitedFor) {
  with_api([](ApiLab& lab) -> Task<void> {
    std::string id = co_await lab.create();
    json::array records{json::parse(
        R"({"time_ms":1500,"kind":"dns","name":"a\u001b[1m.example","address":"","port":0,
            "verdict":"denied","rule":"egress.none","reason":"nothing goes out","bytes_out":0,
            "bytes_in":0,"count":2,"connection":0})")};
    records.push_back(7);  // not a record: left out
    lab.node.tell_egress(id, records);
    std::string path = "/v1/sandboxes/" + id + "/egress";
    auto read = co_await lab.ask(Verb::get, path + "?wait_ms=5000");
    CO_ASSERT_TRUE(read.status == 200);
    CO_ASSERT_TRUE(read.body.at("records").as_array().size() == 1);
    const json::value& record = read.body.at("records").at(0);
    EXPECT_EQ(record.at("name"), "a[1m.example");
    EXPECT_EQ(record.at("count"), 2);
    EXPECT_EQ(read.body.at("next"), record.at("sequence"));
    std::string after = "?after=" + std::to_string(read.body.at("next").to_number<int64_t>());
    auto none = co_await lab.ask(Verb::get, path + after);
    EXPECT_TRUE(none.body.at("records").as_array().empty());
    EXPECT_EQ(none.body.at("next"), read.body.at("next"));

    asio::steady_timer soon(lab.loop, 20ms);
    soon.async_wait([&](auto) { lab.node.tell_egress(id, records); });
    auto waited = co_await lab.ask(Verb::get, path + after + "&wait_ms=10000");
    EXPECT_EQ(waited.body.at("records").as_array().size(), 1u);
    // A sandbox that ends while it is waited for is gone.
    soon.expires_after(20ms);
    soon.async_wait([&](auto) { lab.node.tell_gone(id, "died"); });
    after = "?after=" + std::to_string(waited.body.at("next").to_number<int64_t>());
    auto gone = co_await lab.ask(Verb::get, path + after + "&wait_ms=10000");
    if (gone.status == 200) gone = co_await lab.ask(Verb::get, path + after);
    EXPECT_TRUE(gone.status == 404 || co_await lab.eventually_status(path, 404));
    expect_refusal(co_await lab.ask(Verb::get, path + "?wait_ms=99999"), 400, "wait_ms");
  });
}

TEST_F(ApiEgressTest, APolicyIsExplained) {
  with_api([](ApiLab& lab) -> Task<void> {
    auto ask = [&](std::string body) {
      return lab.ask(Verb::post, "/v1/policy/check", std::move(body));
    };
    auto denied = co_await ask(
        R"({"label":"secret","egress":"internet","destination":{"name":"a.example","port":443}})");
    EXPECT_EQ(denied.body.at("allowed"), false);
    EXPECT_EQ(denied.body.at("rule"), "label.secret");
    EXPECT_FALSE(denied.body.at("remedy").as_string().empty());
    auto allowed = co_await ask(
        R"({"network":{"allowOut":["1.1.1.1"],"denyOut":["0.0.0.0/0"]},
            "destination":{"address":"1.1.1.1","port":443}})");
    EXPECT_EQ(allowed.body.at("allowed"), true);
    std::string id = co_await lab.create(box_with(R"("egress":"internet")"));
    std::string low = key_cleared_for(lab, "public");
    std::string secret = co_await lab.create(box_with(R"("label":"secret")"));
    auto of_box = co_await ask(R"({"box":")" + id + R"(","label":"secret",
                                  "destination":{"name":"a.example","port":443}})");
    EXPECT_EQ(of_box.body.at("allowed"), false);
    auto hidden = co_await lab.ask_with_key(
        Verb::post, "/v1/policy/check",
        R"({"box":")" + secret + R"(","destination":{"name":"a","port":1}})", low);
    EXPECT_EQ(hidden.status, 404u);
  });
}

TEST_F(ApiEgressTest, AnUploadWithALabelRaisesFirst) {
  with_api([](ApiLab& lab) -> Task<void> {
    lab.config.gate_port = 1;  // unused: the gate is not there, and refuses after the label has risen
    auto made = co_await lab.ask(Verb::post, "/v2/sandboxes", box_with(""));
    std::string id(made.body.at("sandboxID").as_string());
    std::string token(made.body.at("envdAccessToken").as_string());
    struct Upload {
      static Task<unsigned> send(ApiLab& lab, std::string id, std::string label, std::string token,
                                 std::string key = {}) {
        auto stream = co_await http::connect_tcp("127.0.0.1", lab.port, 5s);
        http::Client client(std::move(stream.value()));
        http::Request request;
        request.method = Verb::post;
        request.target = "/files?path=x";
        request.fields.set(http::Field::host, "127.0.0.1");
        request.fields.set("E2b-Sandbox-Id", id);
        request.fields.set("X-Hako-Label", label);
        if (!token.empty()) request.fields.set("X-Access-Token", token);
        if (!key.empty()) request.fields.set("X-API-Key", key);
        request.body = "data";
        auto response = co_await client.exchange(std::move(request));
        co_return response.value().status;
      }
    };
    EXPECT_EQ(co_await Upload::send(lab, id, "secret", ""), 401u);
    EXPECT_EQ(co_await Upload::send(lab, id, "secret", "guess"), 401u);
    // The gate would refuse it whatever the key is: so it changes nothing before.
    EXPECT_EQ(co_await Upload::send(lab, id, "secret", "guess", lab.key), 401u);
    EXPECT_EQ(co_await Upload::send(lab, "inone", "secret", "guess", lab.key), 401u);
    EXPECT_EQ(co_await Upload::send(lab, id, "top", token), 400u);
    EXPECT_EQ(co_await Upload::send(lab, "inone", "secret", token), 401u);
    auto detail = co_await lab.ask(Verb::get, "/sandboxes/" + id);
    EXPECT_EQ(detail.body.at("label"), "public");
    EXPECT_EQ(co_await Upload::send(lab, id, "internal", token), 503u);
    detail = co_await lab.ask(Verb::get, "/sandboxes/" + id);
    EXPECT_EQ(detail.body.at("label"), "internal");
    // Lower ones change nothing.
    EXPECT_EQ(co_await Upload::send(lab, id, "public", token), 503u);
    detail = co_await lab.ask(Verb::get, "/sandboxes/" + id);
    EXPECT_EQ(detail.body.at("label"), "internal");
  });
}

TEST_F(ApiEgressTest, TemplatesCarryTheirLabel) {
  with_api([](ApiLab& lab) -> Task<void> {
    auto made = co_await lab.ask(Verb::post, "/v3/templates",
                                 R"({"name":"app","label":"internal"})");
    EXPECT_EQ(made.status, 202u);
    std::string low = key_cleared_for(lab, "public");
    auto lowered = co_await lab.ask(Verb::patch, "/v2/templates/app", R"({"label":"public"})");
    expect_refusal(lowered, 409, "(rule label.falls)");
    auto shown = co_await lab.ask(Verb::get, "/templates/app");
    EXPECT_EQ(shown.body.at("label"), "internal");
    expect_refusal(co_await lab.ask_with_key(Verb::get, "/templates/app", "", low), 404, "not found");
    auto again = co_await lab.ask_with_key(Verb::post, "/v3/templates", R"({"name":"app"})", low);
    expect_refusal(again, 409, "taken");
    auto listed = co_await lab.ask_with_key(Verb::get, "/templates", "", low);
    EXPECT_EQ(listed.body.as_array().size(), 1u);
    auto higher = co_await lab.ask_with_key(Verb::post, "/v3/templates",
                                            R"({"name":"mine","label":"secret"})", low);
    expect_refusal(higher, 403, "(rule label.clearance)");
    (void)co_await lab.ask_with_key(Verb::post, "/v3/templates", R"({"name":"mine"})", low);
    auto hidden =
        co_await lab.ask_with_key(Verb::patch, "/v2/templates/mine", R"({"label":"secret"})", low);
    expect_refusal(hidden, 403, "(rule label.clearance)");

    // As if its build had come to an end.
    std::string build(made.body.at("buildID").as_string());
    std::string id(made.body.at("templateID").as_string());
    auto store = store::open_sqlite_store(lab.config.database());
    EXPECT_TRUE(store.value()->templates().set_tags(id, build, {"default"}, 1));
    lab.node.before = [](const std::string& method, const json::object& body) {
      std::optional<FakeNode::Answer> answer;
      if (method != "box.create") return answer;
      EXPECT_NE(body.at("template"), "base");
      json::object started{{"started_ms", 5}, {"vcpus", 1}, {"memory_mib", 256}, {"disk_mib", 1},
                           {"isolation", "emulated"}};
      answer = started;
      return answer;
    };
    auto box = co_await lab.ask(Verb::post, "/v2/sandboxes", R"({"templateID":"app"})");
    EXPECT_EQ(box.status, 201u) << box.message();
    auto list = co_await lab.ask(Verb::get, "/v2/sandboxes");
    EXPECT_EQ(list.body.at(0).at("label"), "internal");
    auto refused =
        co_await lab.ask_with_key(Verb::post, "/v2/sandboxes", R"({"templateID":"app"})", low);
    EXPECT_EQ(refused.status, 404u);

    // What is built on it has its label, too, before anything has gone in.
    lab.node.before = [build](const std::string& method, const json::object&) {
      std::optional<FakeNode::Answer> answer;
      if (method != "template.list") return answer;
      json::object facts{{"name", build}, {"state", "ready"}};
      json::array list;
      list.push_back(std::move(facts));
      json::object listed;
      listed["templates"] = std::move(list);
      answer = listed;
      return answer;
    };
    auto next = co_await lab.ask(Verb::post, "/v3/templates", R"({"name":"next"})");
    std::string start = "/v2/templates/" + std::string(next.body.at("templateID").as_string()) +
                        "/builds/" + std::string(next.body.at("buildID").as_string());
    auto begun = co_await lab.ask(Verb::post, start, R"({"fromTemplate":"app","steps":[]})");
    EXPECT_EQ(begun.status, 202u);
    std::function<bool()> asked = [&lab] { return lab.node.calls.back() == "build.abort"; };
    EXPECT_TRUE(co_await lab.eventually(std::move(asked)));
    shown = co_await lab.ask(Verb::get, "/templates/next");
    EXPECT_EQ(shown.body.at("label"), "internal");
  });
}

/// The operator has closed what was open; whoever ran is told so when the API is back.
TEST_F(ApiEgressTest, APolicyFollowsTheConfiguration) {
  run_on(lab_.loop, [](ApiLab& lab) -> Task<void> {
    co_await lab.start();
    std::string id = co_await lab.create(box_with(R"("egress":"internet")"));
    EXPECT_TRUE(reaches(lab.node.policy_of(id), "a.example"));
    co_await lab.stop_api();
    lab.config.egress.ceiling = EgressLevel::none;
    EXPECT_TRUE(co_await lab.start_api());
    std::function<bool()> closed = [&lab, id] {
      return !reaches(lab.node.policy_of(id), "a.example");
    };
    EXPECT_TRUE(co_await lab.eventually(std::move(closed)));
    std::function<bool()> told = [&lab] { return lab.node.calls.back() != "box.egress"; };
    EXPECT_TRUE(co_await lab.eventually(std::move(told)));
    auto detail = co_await lab.ask(Verb::get, "/sandboxes/" + id);
    EXPECT_EQ(detail.body.at("egress").at("level"), "none");
    co_await lab.stop();
  }(lab_));
}
}  // namespace
}  // namespace hako::test
