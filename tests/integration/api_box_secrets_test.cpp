// Secrets as clients keep them, as boxes use them, and as a gate gets them.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

#include "base/fd.h"
#include "policy/egress_json.h"
#include "rpc/peer.h"
#include "support/api_fixture.h"

namespace hako::test {
namespace {

using http::Verb;
using namespace std::chrono_literals;

constexpr const char* kReal = "sk-ant-api03-THIS-is-the-real-value-0123456789";
constexpr const char* kSecond = "sk-ant-api03-AFTER-the-rotation-9876543210";

using BoxSecretsTest = ApiOpenFixture;

/// A gate, as far as it has to do with what it terminates.
class BrokerGate {
 public:
  explicit BrokerGate(ApiLab& lab) : lab_(lab), tasks_(lab.loop.get_executor()) {}
  Task<void> connect() {
    auto connection = co_await rpc::connect_unix(lab_.config.broker_socket());
    if (!connection) throw std::runtime_error(connection.error().message());
    peer_ = std::make_shared<rpc::Peer>(lab_.loop.get_executor(), std::move(connection.value()));
    rpc::Handler on_changed = [this](rpc::Payload payload) { return note(std::move(payload)); };
    peer_->on("intercept.changed", std::move(on_changed));
    tasks_.spawn("gate", peer_->run());
  }
  Task<Result<json::object>> get(std::string box) {
    rpc::Payload payload;
    payload.body["box"] = box;
    auto answer = co_await peer_->call("intercept.get", std::move(payload), 10s);
    if (!answer) co_return answer.error();
    co_return std::move(answer.value().body);
  }
  /// Whether it is told, and forgets that it was.
  Task<bool> was_told(std::string box) {
    std::function<bool()> told = [this, box] {
      return std::find(changed.begin(), changed.end(), box) != changed.end();
    };
    bool was = co_await ApiLab::eventually(std::move(told));
    changed.clear();
    co_return was;
  }
  Task<void> stop() { co_await tasks_.stop(); }

  std::vector<std::string> changed;

 private:
  Task<Result<rpc::Payload>> note(rpc::Payload payload) {
    const json::value* boxes = payload.body.if_contains("boxes");
    if (boxes && boxes->is_array()) {
      for (const json::value& box : boxes->get_array()) changed.emplace_back(box.as_string());
    }
    co_return rpc::Payload();
  }

  ApiLab& lab_;
  TaskGroup tasks_;
  std::shared_ptr<rpc::Peer> peer_;
};

std::string open_box_with(const std::string& members) {
  return R"({"templateID":"base","egress":"internet",)" + members + "}";
}

Task<Reply> keep(ApiLab& lab, std::string name, std::string members = {}) {
  std::string body = R"({"name":")" + name + R"(","value":")" + kReal + "\"" +
                     (members.empty() ? "" : "," + members) + "}";
  co_return co_await lab.ask(Verb::post, "/v1/secrets", std::move(body));
}

const json::object& only_host(const json::object& material) {
  const json::array& hosts = material.at("hosts").as_array();
  if (hosts.size() != 1) throw std::runtime_error(json::serialize(material.at("hosts")));
  return hosts.front().as_object();
}

/// Everything in all files below a folder.
std::string all_files(const std::string& folder) {
  std::string all;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    if (!entry.is_regular_file()) continue;
    std::ifstream file(entry.path(), std::ios::binary);
    std::stringstream content;
    content << file.rdbuf();
    all += content.str();
  }
  return all;
}

TEST_F(BoxSecretsTest, AreKeptAndNeverShown) {
  with_api([](ApiLab& lab) -> Task<void> {
    auto made = co_await keep(lab, "Anthropic", R"("hosts":["api.anthropic.com"],"env":"API_KEY")");
    expect_reply(made, 201);
    EXPECT_EQ(member(made.body, "name"), "anthropic");
    EXPECT_EQ(made.body.at("use").at(0).at("header"), "x-api-key");
    std::string id = member(made.body, "secretID");
    expect_reply(co_await keep(lab, "anthropic"), 409, "already");
    std::vector<std::string> seen = {json::serialize(made.body)};
    for (std::string path : {"/v1/secrets", "/secrets"}) {
      auto list = co_await lab.ask(Verb::get, path);
      auto by_id = co_await lab.ask(Verb::get, path + "/" + id);
      auto by_name = co_await lab.ask(Verb::get, path + "/anthropic");
      expect_reply(by_name, 200);
      EXPECT_EQ(by_id.body, by_name.body);
      for (const Reply* each : {&list, &by_id, &by_name}) seen.push_back(json::serialize(each->body));
    }
    auto wrong = co_await lab.ask(Verb::post, "/v1/secrets",
                                  R"({"name":"b","value":")" + std::string(kReal) + R"(","x":1})");
    expect_reply(wrong, 400, "x");
    seen.push_back(json::serialize(wrong.body));
    auto rotated = co_await lab.ask(Verb::post, "/v1/secrets/anthropic/rotate",
                                    R"({"value":")" + std::string(kSecond) + "\"}");
    expect_reply(rotated, 200);
    EXPECT_EQ(rotated.body.at("version"), 2);
    seen.push_back(json::serialize(rotated.body));
    for (const std::string& text : seen) {
      EXPECT_EQ(text.find("the-real-value"), std::string::npos) << text;
      EXPECT_EQ(text.find("AFTER-the-rotation"), std::string::npos) << text;
    }
    expect_reply(co_await lab.ask(Verb::delete_, "/v1/secrets/" + id), 204);
    expect_reply(co_await lab.ask(Verb::get, "/v1/secrets/" + id), 404, "secret not found");
  });
  // Database, journal, audit log: nothing of it is in clear. A planted one is found.
  std::string all = all_files(lab_.config.state_dir);
  EXPECT_EQ(all.find("the-real-value"), std::string::npos);
  EXPECT_EQ(all.find("AFTER-the-rotation"), std::string::npos);
  std::ofstream(lab_.config.state_dir + "/planted") << kReal;
  EXPECT_NE(all_files(lab_.config.state_dir).find("the-real-value"), std::string::npos);
}

TEST_F(BoxSecretsTest, TwoServersOnOneHostShareNothing) {
  with_api([](ApiLab& lab) -> Task<void> {
    BrokerGate gate(lab);
    co_await gate.connect();
    expect_reply(co_await keep(lab, "first", R"("hosts":["a.example:443,8443"],"use":[{"kind":"bearer"}])"), 201);
    expect_reply(co_await keep(lab, "second", R"("hosts":["a.example:8443,9443"],"use":[{"kind":"bearer"}])"), 201);
    std::string id = co_await lab.create(box_with(R"("secrets":["first","second"])"));
    auto material = co_await gate.get(id);
    if (!material) throw std::runtime_error(material.error().message());
    std::map<int64_t, std::string> secrets;
    for (const json::value& host : material.value().at("hosts").as_array()) {
      EXPECT_EQ(member(host, "host"), "a.example");
      std::string names;
      for (const json::value& swap : host.at("swaps").as_array()) names += member(swap, "secret") + " ";
      for (const json::value& port : host.at("ports").as_array()) {
        EXPECT_TRUE(secrets.emplace(port.to_number<int64_t>(), names).second);
      }
    }
    EXPECT_EQ(secrets, (std::map<int64_t, std::string>{
                           {443, "first "}, {8443, "first second "}, {9443, "second "}}));
    co_await gate.stop();
  });
}

TEST_F(BoxSecretsTest, ABoxGetsAPlaceholderAndTheGateTheValue) {
  with_api([](ApiLab& lab) -> Task<void> {
    BrokerGate gate(lab);
    co_await gate.connect();
    expect_reply(co_await keep(lab, "model", R"("hosts":["api.anthropic.com:443,8443"],"env":"KEY")"), 201);
    std::string id = co_await lab.create(open_box_with(R"("secrets":["model"],"envVars":{"A":"b"})"));
    const json::object& told = lab.node.last_create;
    std::string placeholder = member(told.at("placeholders"), "KEY");
    EXPECT_EQ(placeholder.size(), std::string(kReal).size());
    EXPECT_TRUE(placeholder.starts_with("sk-ant-api03-"));
    EXPECT_EQ(json::serialize(told).find("the-real-value"), std::string::npos);
    EXPECT_TRUE(member(told, "ca_certificate").starts_with("-----BEGIN CERTIFICATE-----"));
    auto policy = lab.node.policy_of(id);
    EXPECT_EQ(policy.intercept,
              (std::vector<policy::InterceptedHost>{{"api.anthropic.com", {443, 8443}}}));

    auto material = co_await gate.get(id);
    if (!material) throw std::runtime_error(material.error().message());
    const json::object& host = only_host(material.value());
    EXPECT_EQ(host.at("host"), "api.anthropic.com");
    const json::array& swaps = host.at("swaps").as_array();
    EXPECT_EQ(swaps.size(), 2u) << "as x-api-key, or as a bearer token";
    for (const json::value& swap : swaps) {
      EXPECT_EQ(member(swap, "value"), kReal);
      EXPECT_EQ(member(swap, "placeholder"), placeholder);
      EXPECT_EQ(member(swap, "secret"), "model");
    }
    EXPECT_EQ(member(swaps[0], "kind"), "header");
    EXPECT_EQ(member(swaps[0], "header"), "x-api-key");
    EXPECT_EQ(member(swaps[1], "kind"), "bearer");
    EXPECT_EQ(member(material.value().at("placeholders").at(0), "placeholder"), placeholder);
    EXPECT_NE(member(material.value().at("ca"), "key").find("PRIVATE KEY"), std::string::npos);

    auto shown = co_await lab.ask(Verb::get, "/v1/sandboxes/" + id + "/secrets");
    EXPECT_EQ(member(shown.body.at("secrets").at(0), "placeholder"), placeholder);
    EXPECT_EQ(shown.body.at("secrets").at(0).at("usable"), true);

    // Another box has another, and one that uses none has nothing.
    std::string other = co_await lab.create(open_box_with(R"("secrets":["model"])"));
    EXPECT_NE(member(lab.node.last_create.at("placeholders"), "KEY"), placeholder);
    std::string without = co_await lab.create(open_box_with(R"("metadata":{})"));
    auto nothing = co_await gate.get(without);
    EXPECT_FALSE(nothing);
    if (!nothing) {
      EXPECT_EQ(nothing.error().code(), ErrorCode::not_found);
    }
    EXPECT_EQ((co_await gate.get("inone")).error().code(), ErrorCode::not_found);
    EXPECT_TRUE(lab.node.policy_of(without).intercept.empty());
    co_await gate.stop();
  });
}

TEST_F(BoxSecretsTest, ARotationIsNoticedAndNeedsNoRestart) {
  with_api([](ApiLab& lab) -> Task<void> {
    BrokerGate gate(lab);
    co_await gate.connect();
    expect_reply(co_await keep(lab, "model", R"("hosts":["api.anthropic.com"],"env":"KEY")"), 201);
    std::string id = co_await lab.create(open_box_with(R"("secrets":["model"])"));
    auto before = co_await gate.get(id);
    expect_reply(co_await lab.ask(Verb::post, "/v1/secrets/model/rotate",
                                  R"({"value":")" + std::string(kSecond) + "\"}"), 200);
    EXPECT_TRUE(co_await gate.was_told(id));
    auto after = co_await gate.get(id);
    if (!before || !after) throw std::runtime_error("no material");
    EXPECT_EQ(member(only_host(after.value()).at("swaps").at(0), "value"), kSecond);
    EXPECT_EQ(after.value().at("placeholders"), before.value().at("placeholders"));
    EXPECT_NE(after.value().at("revision"), before.value().at("revision"));
    auto again = co_await gate.get(id);
    if (again) {
      EXPECT_EQ(again.value().at("revision"), after.value().at("revision"));
    }

    // The same after a restart: nothing of it was in memory alone.
    co_await gate.stop();
    co_await lab.stop_api();
    EXPECT_TRUE(co_await lab.start_api());
    BrokerGate later(lab);
    co_await later.connect();
    auto restarted = co_await later.get(id);
    if (!restarted) throw std::runtime_error(restarted.error().message());
    EXPECT_EQ(restarted.value().at("revision"), after.value().at("revision"));
    co_await later.stop();
  });
}

TEST_F(BoxSecretsTest, WhatIsTakenAwayIsClosedAtOnce) {
  with_api([](ApiLab& lab) -> Task<void> {
    BrokerGate gate(lab);
    co_await gate.connect();
    expect_reply(co_await keep(lab, "one", R"("hosts":["a.example"])"), 201);
    expect_reply(co_await keep(lab, "two", R"("hosts":["b.example"])"), 201);
    std::string id = co_await lab.create(open_box_with(R"("secrets":["one","two"])"));
    EXPECT_EQ(lab.node.policy_of(id).intercept.size(), 2u);
    // Its host has changed: the old one gets nothing any more.
    expect_reply(co_await lab.ask(Verb::patch, "/v1/secrets/one", R"({"hosts":["c.example"]})"), 200);
    EXPECT_TRUE(co_await gate.was_told(id));
    auto policy = lab.node.policy_of(id);
    EXPECT_FALSE(policy::must_intercept(policy, "a.example", 443));
    EXPECT_TRUE(policy::must_intercept(policy, "c.example", 443));
    // The grant goes.
    expect_reply(co_await lab.ask(Verb::patch, "/v1/secrets/one", R"({"grants":[{"agent":"x"}]})"),
                 200);
    EXPECT_TRUE(co_await gate.was_told(id));
    EXPECT_FALSE(policy::must_intercept(lab.node.policy_of(id), "c.example", 443));
    auto material = co_await gate.get(id);
    if (!material) throw std::runtime_error(material.error().message());
    EXPECT_EQ(member(only_host(material.value()), "host"), "b.example");
    EXPECT_EQ(material.value().at("placeholders").as_array().size(), 2u)
        << "the other is still recognised where it must not be";
    auto shown = co_await lab.ask(Verb::get, "/v1/sandboxes/" + id + "/secrets");
    EXPECT_EQ(shown.body.at("secrets").at(0).at("usable"), false);
    // The other is removed.
    expect_reply(co_await lab.ask(Verb::delete_, "/secrets/two"), 204);
    EXPECT_TRUE(co_await gate.was_told(id));
    EXPECT_TRUE(lab.node.policy_of(id).intercept.empty());
    // One is put in its place while it runs.
    expect_reply(co_await keep(lab, "three", R"("hosts":["d.example"])"), 201);
    auto set = co_await lab.ask(Verb::put, "/v1/sandboxes/" + id + "/secrets",
                                R"({"secrets":["three"]})");
    expect_reply(set, 200);
    EXPECT_TRUE(co_await gate.was_told(id));
    EXPECT_TRUE(policy::must_intercept(lab.node.policy_of(id), "d.example", 443));
    expect_reply(co_await lab.ask(Verb::put, "/v1/sandboxes/" + id + "/secrets",
                                  R"({"secrets":["four"]})"), 404, "secret four not found");
    co_await gate.stop();
  });
}

TEST_F(BoxSecretsTest, ABoxIsAsConfidentialAsWhatComesBackByItsSecrets) {
  with_api([](ApiLab& lab) -> Task<void> {
    BrokerGate gate(lab);
    co_await gate.connect();
    expect_reply(co_await keep(lab, "crm", R"("hosts":["crm.example"],"label":"internal")"), 201);
    std::string raised = co_await lab.create(
        R"({"templateID":"base","allow":["crm.example"],"secrets":["crm"]})");
    auto detail = co_await lab.ask(Verb::get, "/sandboxes/" + raised);
    EXPECT_EQ(detail.body.at("label"), "internal");

    std::string open = co_await lab.create(
        R"({"templateID":"base","allow":["crm.example"]})");
    std::string path = "/v1/sandboxes/" + open + "/secrets";
    expect_reply(co_await lab.ask(Verb::put, path, R"({"secrets":["crm"]})"), 403, "secret.label");
    EXPECT_TRUE(lab.node.policy_of(open).intercept.empty());
    expect_reply(co_await lab.ask(Verb::post, "/v1/sandboxes/" + open + "/label",
                                  R"({"label":"internal"})"), 200);
    expect_reply(co_await lab.ask(Verb::put, path, R"({"secrets":["crm"]})"), 200);
    EXPECT_TRUE(policy::must_intercept(lab.node.policy_of(open), "crm.example", 443));

    // It becomes more confidential than boxes that use it: these lose it.
    expect_reply(co_await lab.ask(Verb::patch, "/v1/secrets/crm", R"({"label":"confidential"})"), 200);
    EXPECT_TRUE(lab.node.policy_of(open).intercept.empty());
    auto material = co_await gate.get(open);
    if (!material) throw std::runtime_error(material.error().message());
    EXPECT_TRUE(material.value().at("hosts").as_array().empty());
    co_await gate.stop();
  });
}

TEST_F(BoxSecretsTest, AreGrantedToTenantsAgentsAndBoxes) {
  with_api([](ApiLab& lab) -> Task<void> {
    expect_reply(co_await lab.ask(Verb::post, "/v1/tenants", R"({"name":"acme"})"), 201);
    auto key_of = [&lab](std::string body) -> Task<std::string> {
      auto made = co_await lab.ask_in("acme", Verb::post, "/v1/keys", std::move(body));
      co_return member(made.body, "key");
    };
    std::string owner = co_await key_of(R"({"role":"owner"})");
    std::string bot = co_await key_of(R"({"role":"member","policy":{"agent":"bot"}})");
    std::string other = co_await key_of(R"({"role":"member","policy":{"agent":"other"}})");
    auto create = [&lab](std::string key, std::string name) -> Task<Reply> {
      std::string body = open_box_with(R"("secrets":[")" + name + "\"]");
      co_return co_await lab.ask_with_key(Verb::post, "/v2/sandboxes", std::move(body), std::move(key));
    };
    std::string mine = R"({"name":"mine","value":"a-secret-value","hosts":["a.example"],)"
                       R"("grants":[{"agent":"bot"}]})";
    expect_reply(co_await lab.ask_with_key(Verb::post, "/v1/secrets", mine, bot), 403, "");
    expect_reply(co_await lab.ask_with_key(Verb::post, "/v1/secrets", mine, owner), 201);
    expect_reply(co_await create(bot, "mine"), 201);
    expect_reply(co_await create(other, "mine"), 404, "secret mine not found");
    expect_reply(co_await create(owner, "mine"), 403, "secret.grant");
    std::string everybody = R"({"name":"x","value":"a-secret-value","grants":[{"tenant":"default"}]})";
    expect_reply(co_await lab.ask_with_key(Verb::post, "/v1/secrets", everybody, owner), 403,
                 "secret.tenant");

    // The operator's own is granted to a tenant, which can use it and not change it.
    expect_reply(co_await keep(lab, "shared", R"("hosts":["b.example"],"grants":[{"tenant":"acme"}])"),
                 201);
    expect_reply(co_await create(other, "shared"), 201);
    expect_reply(co_await lab.ask_with_key(Verb::post, "/v1/secrets/shared/rotate",
                                           R"({"value":"another-value"})", owner), 403, "secret.tenant");
    expect_reply(co_await lab.ask_with_key(Verb::delete_, "/v1/secrets/shared", "", owner), 403);
    // One of the tenant's own comes before it.
    expect_reply(co_await lab.ask_with_key(
                     Verb::post, "/v1/secrets",
                     R"({"name":"shared","value":"a-secret-value","hosts":["own.example"]})", owner),
                 201);
    auto made = co_await create(other, "shared");
    EXPECT_TRUE(policy::must_intercept(lab.node.policy_of(member(made.body, "sandboxID")),
                                       "own.example", 443));
  });
}

TEST_F(BoxSecretsTest, AForkHasItsOwnPlaceholderAndAuthority) {
  with_api([](ApiLab& lab) -> Task<void> {
    BrokerGate gate(lab);
    co_await gate.connect();
    expect_reply(co_await keep(lab, "model", R"("hosts":["a.example"],"env":"KEY")"), 201);
    std::string id = co_await lab.create(open_box_with(R"("secrets":["model"])"));
    std::string placeholder = member(lab.node.last_create.at("placeholders"), "KEY");
    std::string certificate = member(lab.node.last_create, "ca_certificate");
    json::object fork;
    lab.node.before = [&fork](const std::string& method, const json::object& body) {
      if (method == "box.fork") fork = body;
      return std::optional<FakeNode::Answer>();
    };
    auto forked = co_await lab.ask(Verb::post, "/sandboxes/" + id + "/fork", "");
    expect_reply(forked, 201);
    const json::value& child = fork.at("children").at(0);
    EXPECT_NE(member(child.at("placeholders"), "KEY"), placeholder);
    EXPECT_NE(member(child, "ca_certificate"), certificate);
    auto material = co_await gate.get(member(child, "box"));
    if (!material) throw std::runtime_error(material.error().message());
    EXPECT_EQ(member(only_host(material.value()).at("swaps").at(0), "placeholder"),
              member(child.at("placeholders"), "KEY"));
    co_await gate.stop();
  });
}

TEST_F(BoxSecretsTest, E2bsRulesPutHeadersIn) {
  with_api([](ApiLab& lab) -> Task<void> {
    BrokerGate gate(lab);
    co_await gate.connect();
    // As its SDK does it: a secret that is bound to nothing, and a rule that says where it goes.
    auto made = co_await lab.ask(Verb::post, "/secrets",
                                 R"({"name":"Stripe","value":")" + std::string(kReal) +
                                     R"(","metadata":{"team":"pay"}})");
    expect_reply(made, 201);
    EXPECT_EQ(made.body.at("currentVersion"), 1);
    EXPECT_EQ(made.body.at("metadata").at("team"), "pay");
    const std::string rules =
        R"("network":{"rules":{"api.stripe.com":[{"transform":{"headers":{"X-Team":"pay",)"
        R"("Authorization":"Bearer ${e2b.secrets.stripe}"}}}]}})";
    std::string id = co_await lab.create(open_box_with(rules));
    EXPECT_TRUE(policy::must_intercept(lab.node.policy_of(id), "api.stripe.com", 443));
    auto material = co_await gate.get(id);
    if (!material) throw std::runtime_error(material.error().message());
    const json::array& always = only_host(material.value()).at("always").as_array();
    EXPECT_EQ(always.size(), 2u);
    EXPECT_EQ(member(always[1], "header"), "Authorization");
    EXPECT_EQ(member(always[1], "value"), "Bearer " + std::string(kReal));
    auto detail = co_await lab.ask(Verb::get, "/sandboxes/" + id);
    EXPECT_EQ(json::serialize(detail.body).find("the-real-value"), std::string::npos);

    // It goes: then nothing passes to that host.
    expect_reply(co_await lab.ask(Verb::delete_, "/secrets/stripe"), 204);
    EXPECT_TRUE(co_await gate.was_told(id));
    EXPECT_TRUE(policy::must_intercept(lab.node.policy_of(id), "api.stripe.com", 443));
    auto gone = co_await gate.get(id);
    if (!gone) throw std::runtime_error(gone.error().message());
    EXPECT_TRUE(gone.value().at("hosts").as_array().empty());
    expect_reply(co_await lab.ask(Verb::post, "/v2/sandboxes", open_box_with(rules)), 404,
                 "secret stripe not found");

    // Rules are replaced whole.
    expect_reply(co_await lab.ask(Verb::put, "/sandboxes/" + id + "/network",
                                  R"({"allow_internet_access":true})"), 204);
    EXPECT_TRUE(lab.node.policy_of(id).intercept.empty());
    co_await gate.stop();
  });
}

TEST_F(BoxSecretsTest, NoRuleTakesASecretWhereItIsNotBound) {
  with_api([](ApiLab& lab) -> Task<void> {
    expect_reply(co_await lab.ask(Verb::post, "/v1/tenants", R"({"name":"acme"})"), 201);
    auto made = co_await lab.ask_in("acme", Verb::post, "/v1/keys", R"({"role":"member"})");
    std::string agent = member(made.body, "key");
    for (const char* body : {R"({"name":"bound","value":"a-secret-value","hosts":["a.example"]})",
                             R"({"name":"unbound","value":"a-secret-value"})"}) {
      expect_reply(co_await lab.ask_in("acme", Verb::post, "/v1/secrets", body), 201);
    }
    auto create = [&lab, agent](std::string host, std::string name) -> Task<Reply> {
      std::string body = open_box_with(R"("network":{"rules":{")" + host +
                                  R"(":[{"transform":{"headers":{"X":"${e2b.secrets.)" + name +
                                  R"(}"}}}]}})");
      co_return co_await lab.ask_with_key(Verb::post, "/v2/sandboxes", std::move(body), agent);
    };
    expect_reply(co_await create("a.example", "bound"), 201);
    expect_reply(co_await create("evil.example", "bound"), 403, "secret.host");
    expect_reply(co_await create("evil.example", "unbound"), 403, "secret.host");
    expect_reply(co_await create("evil.example", "none"), 404, "secret none not found");
  });
}

TEST_F(BoxSecretsTest, AnotherMasterKeyOpensNothing) {
  with_api([](ApiLab& lab) -> Task<void> {
    expect_reply(co_await keep(lab, "model", R"("hosts":["a.example"],"env":"KEY")"), 201);
    std::string id = co_await lab.create(open_box_with(R"("secrets":["model"])"));
    co_await lab.stop_api();
    auto written = write_file_atomically(lab.config.master_key_file, std::string(64, 'a'), 0600);
    EXPECT_TRUE(written);
    EXPECT_TRUE(co_await lab.start_api());
    BrokerGate gate(lab);
    co_await gate.connect();
    auto material = co_await gate.get(id);
    if (!material) throw std::runtime_error(material.error().message());
    EXPECT_TRUE(only_host(material.value()).at("swaps").as_array().empty());
    EXPECT_EQ(json::serialize(material.value()).find("the-real-value"), std::string::npos);
    co_await gate.stop();
  });
}

TEST_F(BoxSecretsTest, WithoutAMasterKeyNothingIsKeptAndNothingIsUsed) {
  lab_.config.master_key_file.clear();
  with_api([](ApiLab& lab) -> Task<void> {
    expect_reply(co_await keep(lab, "model"), 501, "keeps no secrets");
    for (const char* path : {"/v1/secrets", "/secrets", "/secrets/a", "/v1/secrets/a"}) {
      expect_reply(co_await lab.ask(Verb::get, path), 501, "keeps no secrets");
    }
    expect_reply(co_await lab.ask(Verb::delete_, "/secrets/a"), 501);
    expect_reply(co_await lab.ask(Verb::post, "/v2/sandboxes", open_box_with(R"("secrets":["a"])")), 501);
    expect_reply(co_await lab.ask(
                     Verb::post, "/v2/sandboxes",
                     open_box_with(R"("network":{"rules":{"a.example":[{"transform":{"headers":{"X":"y"}}}]}})")),
                 501);
    std::string id = co_await lab.create();
    EXPECT_FALSE(lab.node.last_create.contains("ca_certificate"));
    EXPECT_FALSE(lab.node.last_create.contains("placeholders"));
  });
}

}  // namespace
}  // namespace hako::test
