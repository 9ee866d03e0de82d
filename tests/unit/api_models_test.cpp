// Calls of models: what is set aside, by which rules they are refused, and what they come to.
#include <gtest/gtest.h>

#include <map>

#include "api/model_admission.h"
#include "api/model_terms.h"
#include "api/principal.h"
#include "policy/narrowing_json.h"

namespace hako::api {
namespace {

namespace json = boost::json;
using store::ModelAmount;
using store::ModelBudget;
using store::ModelCount;

constexpr int64_t kNow = 1'795'651'200'000;  // 2026-11-26

config::Models models() {
  config::Models made;
  made.endpoints = {{"api.anthropic.com", 443, "anthropic", "key"}, {"llm.local", 8443, "openai", ""}};
  policy::ModelPrice price;
  price.model = "claude-*";
  price.input = 3'000'000, price.cached = 300'000, price.cache_write = 3'750'000;
  price.cache_write_1h = 6'000'000, price.output = 15'000'000;
  price.context_tokens = 200'000, price.max_output_tokens = 64'000;
  made.prices = {price};
  return made;
}

ModelCallRequest call() {
  ModelCallRequest made;
  made.box = "i1";
  made.host = "api.anthropic.com";
  made.api = "anthropic";
  made.model = "claude-x";
  made.path = "/v1/messages";
  made.input_bytes = 976;  // and 1024 around them
  made.max_output_tokens = 1000;
  return made;
}

/// A box, its tenant and key, and what counts already.
struct World {
  store::SandboxRecord box;
  store::TenantRecord tenant;
  std::optional<store::ApiKey> key;
  std::vector<store::ModelStop> stops;
  std::map<std::string, ModelCount> counts;
  config::Models models = api::models();

  World() {
    box.id = "i1";
    box.tenant = tenant.name = "acme";
    box.agent = "build/one";
    box.key_id = "k1";
    key.emplace();
    key->id = "k1";
    key->tenant = "acme";
  }
  Result<store::ModelReservation> admit(const ModelCallRequest& asked = call()) {
    store::ModelStore::Facts facts{box, tenant, key, stops};
    return admit_model_call(models, asked, "r1", kNow, facts, [&](const ModelBudget& budget) {
      return Result<ModelCount>(counts[budget.name + "@" + budget.period]);
    });
  }
  std::string refusal(const ModelCallRequest& asked = call()) {
    auto admitted = admit(asked);
    if (admitted) return "";
    EXPECT_TRUE(admitted.error().code() == ErrorCode::permission_denied ||
                admitted.error().code() == ErrorCode::resource_exhausted ||
                admitted.error().code() == ErrorCode::corrupted);
    return admitted.error().message();
  }
};

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST(ModelAdmission, SetsAsideTheMostThatACallMayTake) {
  World world;
  auto made = world.admit();
  ASSERT_TRUE(made) << made.error().message();
  EXPECT_EQ(made.value().input_tokens, 2000);
  EXPECT_EQ(made.value().output_tokens, 1000);
  // 2000 at the dearest kind of input, $6, and 1000 at $15 for a million.
  EXPECT_EQ(made.value().microusd, 12'000 + 15'000);
  EXPECT_EQ(made.value().budgets,
            (std::vector<ModelBudget>{
                {"tenant:acme", ""}, {"key:k1", ""}, {"box:i1", ""}, {"tenant:acme", "2026-11"}}));
  EXPECT_EQ(made.value().agent, "build/one");
  EXPECT_EQ(made.value().key_id, "k1");

  ModelCallRequest endless = call();
  endless.max_output_tokens.reset();
  endless.opaque_input = true;
  auto bound = bound_of(world.models, endless);
  EXPECT_EQ(bound.input_tokens, 200'000);
  EXPECT_EQ(bound.output_tokens, 64'000);
  endless.answers = 3;
  EXPECT_EQ(bound_of(world.models, endless).output_tokens, 192'000);
  endless.answers = 1;
  endless.model = "unknown";
  bound = bound_of(world.models, endless);
  EXPECT_EQ(bound.input_tokens, 1'000'000);
  EXPECT_EQ(bound.output_tokens, 128'000);
  EXPECT_FALSE(bound.priced);
  EXPECT_EQ(bound.microusd, 0);
}

TEST(ModelAdmission, OnlyServersOfModels) {
  World world;
  ModelCallRequest other = call();
  other.host = "example.com";
  EXPECT_TRUE(has(world.refusal(other), "no server of models"));
  other = call();
  other.port = 8443;
  EXPECT_TRUE(has(world.refusal(other), "no server of models"));
  other = call();
  other.api = "openai";
  EXPECT_TRUE(has(world.refusal(other), "no server of models"));
}

TEST(ModelAdmission, Switches) {
  World world;
  world.stops = {{"", "too dear", "operator", 1}};
  EXPECT_TRUE(has(world.refusal(), "stopped: too dear"));
  world.stops = {{"acme", "", "operator", 1}};
  EXPECT_TRUE(has(world.refusal(), "of tenant acme are stopped"));
  world.stops.clear();
  world.tenant.suspended = true;
  EXPECT_TRUE(has(world.refusal(), "suspended"));
  world.tenant.suspended = false;
  world.key->expires_ms = kNow;
  EXPECT_TRUE(has(world.refusal(), "expired"));
  world.key->expires_ms = kNow + 1;
  EXPECT_EQ(world.refusal(), "");
  world.key.reset();
  EXPECT_TRUE(has(world.refusal(), "no more"));
}

TEST(ModelAdmission, EveryLayerMustAllowTheModel) {
  World world;
  world.models.allow = {"gpt-*"};
  EXPECT_TRUE(has(world.refusal(), "platform"));
  world.models.allow = {"*"};
  world.tenant.policy = R"({"models":["claude-y"]})";
  EXPECT_TRUE(has(world.refusal(), "tenant acme"));
  world.tenant.policy = R"({"models":["claude-*"]})";
  world.key->narrowing = R"({"models":["claude-y"]})";
  EXPECT_TRUE(has(world.refusal(), "key k1"));
  world.key->narrowing = "";
  world.box.options = R"({"models":{"box":{"models":[]}}})";
  EXPECT_TRUE(has(world.refusal(), "sandbox i1"));
  world.box.options =
      R"({"models":{"caveats":[{"name":"token caveat 1","budget":"","leaves":{"models":["m"]}}]}})";
  EXPECT_TRUE(has(world.refusal(), "token caveat 1"));
}

TEST(ModelAdmission, WhatCannotBeReadIsARestriction) {
  for (const char* options :
       {"{", "[]", R"({"models":1})", R"({"models":{"box":1}})", R"({"models":{"box":{"x":1}}})",
        R"({"models":{"caveats":{}}})", R"({"models":{"caveats":[1]}})",
        R"({"models":{"caveats":[{"name":"t","budget":"","leaves":{"modelTokens":1}}]}})"}) {
    World world;
    world.box.options = options;
    auto refused = world.admit();
    ASSERT_FALSE(refused) << options;
    EXPECT_EQ(refused.error().code(), ErrorCode::corrupted) << options;
  }
  World world;
  world.tenant.policy = "{";
  EXPECT_NE(world.refusal(), "");
  world.tenant.policy = "";
  world.tenant.quota = R"({"unknown":1})";
  EXPECT_NE(world.refusal(), "");
}

TEST(ModelAdmission, ExtrasNeedLeave) {
  World world;
  ModelCallRequest asked = call();
  asked.extras = {"web_search_20250305"};
  EXPECT_TRUE(has(world.refusal(asked), "web_search_20250305"));
  world.models.extras = {"web_search*"};
  EXPECT_EQ(world.refusal(asked), "");
  asked.extras.push_back("url");
  EXPECT_TRUE(has(world.refusal(asked), "'url'"));
}

TEST(ModelAdmission, BudgetsOfEveryLayerCountToTheLastUnit) {
  struct Case {
    const char* where;
    const char* budget;
    const char* whose;
  };
  const Case cases[] = {{"tenant", "tenant:acme@", "tenant acme"},
                        {"key", "key:k1@", "key k1"},
                        {"box", "box:i1@", "sandbox i1"},
                        {"caveat", "f00d@", "token caveat 2"},
                        {"quota", "tenant:acme@2026-11", "for this month"}};
  struct Unit {
    const char* member;
    const char* quota;
    int64_t ModelAmount::*amount;
    int64_t wanted;
  };
  const Unit units[] = {
      {"modelRequests", "modelRequestsPerMonth", &ModelAmount::requests, 1},
      {"modelTokens", "modelTokensPerMonth", &ModelAmount::tokens, 3000},
      {"modelMicroUSD", "modelMicroUSDPerMonth", &ModelAmount::microusd, 27'000}};
  constexpr int64_t kCap = 1'000'000;
  for (const Case& one : cases) {
    for (const Unit& unit : units) {
      World world;
      std::string where = one.where;
      std::string leaves = "{\"" + std::string(unit.member) + "\":1000000}";
      if (where == "tenant") world.tenant.policy = leaves;
      if (where == "key") world.key->narrowing = leaves;
      if (where == "box") world.box.options = "{\"models\":{\"box\":" + leaves + "}}";
      if (where == "caveat") {
        world.box.options = "{\"models\":{\"caveats\":[{\"name\":\"token caveat 2\",\"budget\":\"f00d\","
                            "\"leaves\":" + leaves + "}]}}";
      }
      if (where == "quota") world.tenant.quota = "{\"" + std::string(unit.quota) + "\":1000000}";
      for (auto part : {&ModelCount::told, &ModelCount::unconfirmed, &ModelCount::open}) {
        world.counts.clear();
        ModelAmount& used = world.counts[one.budget].*part;
        used.*unit.amount = kCap - unit.wanted;
        EXPECT_EQ(world.refusal(), "") << where << unit.member;
        used.*unit.amount += 1;
        std::string why = world.refusal();
        EXPECT_TRUE(has(why, one.whose) && has(why, "spent")) << where << unit.member << why;
      }
      world.counts.clear();
      world.counts[one.budget].open.*unit.amount = INT64_MAX;
      EXPECT_NE(world.refusal(), "");
    }
  }
}

TEST(ModelAdmission, WithoutAPriceNoBudgetInMoney) {
  World world;
  ModelCallRequest asked = call();
  asked.model = "gpt-5";
  EXPECT_EQ(world.refusal(asked), "");
  world.key->narrowing = R"({"modelMicroUSD":1000000000})";
  EXPECT_TRUE(has(world.refusal(asked), "no price"));
  EXPECT_EQ(world.refusal(), "") << "the other has one";
}

TEST(ModelAdmission, NoCallIsTooLargeForTheSums) {
  World world;
  ModelCallRequest asked = call();
  asked.max_output_tokens = 1'000'000'000;
  EXPECT_EQ(world.refusal(asked), "");
  world.models.prices[0].output = INT64_MAX;
  EXPECT_TRUE(has(world.refusal(asked), "set aside"));
}

store::ModelReservation reservation() {
  World world;
  return world.admit().value();
}

ModelCallEnd ended(ModelOutcome outcome, store::ModelTokens tokens = {}) {
  ModelCallEnd end;
  end.reservation = "r1";
  end.outcome = outcome;
  end.tokens = tokens;
  return end;
}

TEST(ModelSettlement, AWholeAnswerCostsWhatItSays) {
  store::ModelTokens tokens{
      .input = 100, .cached = 1000, .cache_write = 300, .cache_write_1h = 100, .output = 50};
  auto made = settle_model_call(reservation(), ended(ModelOutcome::ok, tokens)).value();
  EXPECT_EQ(made.requests, 1);
  EXPECT_EQ(made.told, tokens);
  // 100*3 + 1000*0.3 + 200*3.75 + 100*6 + 50*15
  EXPECT_EQ(made.told_microusd, 300 + 300 + 750 + 600 + 750);
  EXPECT_EQ(made.unconfirmed_tokens, 0);
  EXPECT_EQ(made.unconfirmed_microusd, 0);
}

TEST(ModelSettlement, WhatWasNotSaidCountsAsMuchAsItMayHaveBeen) {
  auto made =
      settle_model_call(reservation(), ended(ModelOutcome::cut, {.input = 200, .output = 10}))
          .value();
  EXPECT_EQ(made.told_microusd, 200 * 3 + 10 * 15);
  EXPECT_EQ(made.unconfirmed_tokens, 990);
  EXPECT_EQ(made.unconfirmed_microusd, 990 * 15);
  // Not even the input was said.
  made = settle_model_call(reservation(), ended(ModelOutcome::cut)).value();
  EXPECT_EQ(made.unconfirmed_tokens, 3000);
  EXPECT_EQ(made.unconfirmed_microusd, 27'000);
  for (ModelOutcome outcome : {ModelOutcome::uncounted, ModelOutcome::lost}) {
    // What such an end says beside is not believed.
    made = settle_model_call(reservation(), ended(outcome, {.input = 1, .output = 1})).value();
    EXPECT_EQ(made.told, store::ModelTokens());
    EXPECT_EQ(made.unconfirmed_tokens, 3000);
    EXPECT_EQ(made.unconfirmed_microusd, 27'000);
    EXPECT_EQ(made.requests, 1);
  }
}

TEST(ModelSettlement, AnErrorCostsACallAndNothingElse) {
  auto made = settle_model_call(reservation(), ended(ModelOutcome::failed)).value();
  EXPECT_EQ(made.requests, 1);
  EXPECT_EQ(made.told_microusd + made.unconfirmed_microusd + made.unconfirmed_tokens, 0);
  ModelCallEnd unsent = ended(ModelOutcome::failed);
  unsent.went_out = false;
  EXPECT_EQ(settle_model_call(reservation(), unsent).value().requests, 0);
}

TEST(ModelPrice, OfTheNameOrItsLongestBeginning) {
  std::vector<policy::ModelPrice> prices(4);
  prices[0].model = "*", prices[1].model = "gpt-*", prices[2].model = "gpt-5*";
  prices[3].model = "gpt-5-mini";
  EXPECT_EQ(policy::price_of(prices, "x"), &prices[0]);
  EXPECT_EQ(policy::price_of(prices, "gpt-4"), &prices[1]);
  EXPECT_EQ(policy::price_of(prices, "gpt-5"), &prices[2]);
  EXPECT_EQ(policy::price_of(prices, "gpt-5-mini"), &prices[3]);
  EXPECT_EQ(policy::price_of(prices, "gpt-5-mini-2"), &prices[2]);
  prices.erase(prices.begin());
  EXPECT_EQ(policy::price_of(prices, "x"), nullptr);
}

TEST(ModelPrice, RoundsUpAndDoesNotRunOver) {
  policy::ModelPrice price;
  price.input = 1;
  EXPECT_EQ(policy::cost_of(price, {.input = 1}), 1);
  EXPECT_EQ(policy::cost_of(price, {.input = 1'000'000}), 1);
  EXPECT_EQ(policy::cost_of(price, {.input = 1'000'001}), 2);
  EXPECT_EQ(policy::cost_of(price, {}), 0);
  price.output = INT64_MAX;
  EXPECT_EQ(policy::cost_of(price, {.output = INT64_MAX}), INT64_MAX);
  EXPECT_EQ(policy::price_from_json(policy::to_json(price)).value(), price);
  EXPECT_FALSE(policy::price_from_json(json::object()));
}

TEST(ModelMessage, WhatDecidesTheCostMustBeThere) {
  json::object whole = json::parse(R"({"box":"i1","host":"h","api":"openai","model":"m","path":"/p",
      "stream":true,"input_bytes":5,"opaque_input":false,"answers":2,"extras":[],"max_output_tokens":7})")
                           .as_object();
  auto read = parse_model_call(whole);
  ASSERT_TRUE(read) << read.error().message();
  EXPECT_EQ(read.value().port, 443);
  EXPECT_EQ(read.value().max_output_tokens, 7);
  for (const char* name : {"box", "host", "api", "model", "path", "input_bytes", "opaque_input",
                           "answers", "extras"}) {
    json::object less = whole;
    less.erase(name);
    EXPECT_FALSE(parse_model_call(less)) << name;
  }
  for (auto [name, value] : std::initializer_list<std::pair<const char*, json::value>>{
           {"input_bytes", -1}, {"max_output_tokens", 0}, {"model", "a b"}, {"model", ""},
           {"opaque_input", "no"}, {"answers", 0}, {"extras", "x"}, {"port", 0}}) {
    json::object wrong = whole;
    wrong[name] = value;
    EXPECT_FALSE(parse_model_call(wrong)) << name;
  }
}

TEST(ModelMessage, EndsAreReadStrictly) {
  auto read = [](const char* text) { return parse_model_end(json::parse(text).as_object()); };
  auto whole = read(R"({"reservation":"r","outcome":"cut","requests":1,"input_tokens":1,
      "output_tokens":2,"cached_tokens":3,"cache_write_tokens":4,"cache_write_1h_tokens":2})");
  ASSERT_TRUE(whole);
  EXPECT_EQ(whole.value().tokens, (store::ModelTokens{1, 3, 4, 2, 2}));
  EXPECT_FALSE(read(R"({"reservation":"r","outcome":"lost"})"));
  EXPECT_FALSE(read(R"({"reservation":"r"})"));
  EXPECT_FALSE(read(R"({"reservation":"r","outcome":"ok","input_tokens":-1})"));
  EXPECT_FALSE(read(R"({"reservation":"r","outcome":"ok","requests":2})"));
  EXPECT_FALSE(read(R"({"reservation":"r","outcome":"ok","output_tokens":1.5})"));
}

TEST(ModelTerms, AreKeptWithTheBoxAsTheyWereAsked) {
  json::object body =
      json::parse(R"({"models":{"allow":["claude-*"],"requests":5,"tokens":6,"microUSD":7}})")
          .as_object();
  FieldReader reader(body);
  json::object terms = read_model_terms(reader);
  ASSERT_TRUE(reader.outcome());
  policy::PermissionLayer caveat;
  caveat.name = "token caveat 1";
  caveat.budget = "f00d";
  caveat.leaves.model_tokens = 9;
  caveat.leaves.memory_mib = 64;
  policy::PermissionLayer other;
  other.name = "token caveat 2";
  other.leaves.memory_mib = 64;
  policy::Permission permission = {{"key k1", {}, ""}, caveat, other};
  keep_caveats(terms, permission, 2);
  keep_caveats(terms, permission, 2);
  auto read = model_terms_of("{\"models\":" + json::serialize(terms) + "}");
  ASSERT_TRUE(read) << read.error().message();
  EXPECT_EQ(read.value().box.models, (std::set<std::string>{"claude-*"}));
  EXPECT_EQ(read.value().box.model_requests, 5);
  EXPECT_EQ(read.value().box.model_tokens, 6);
  EXPECT_EQ(read.value().box.model_microusd, 7);
  ASSERT_EQ(read.value().caveats.size(), 1u);
  EXPECT_EQ(read.value().caveats[0].budget, "f00d");
  EXPECT_EQ(read.value().caveats[0].leaves.model_tokens, 9);
  EXPECT_EQ(read.value().caveats[0].leaves.memory_mib, std::nullopt);

  for (const char* wrong : {R"({"models":1})", R"({"models":{"tokns":5}})",
                            R"({"models":{"tokens":-1}})", R"({"models":{"allow":["a b"]}})"}) {
    json::object asked = json::parse(wrong).as_object();
    FieldReader strict(asked);
    read_model_terms(strict);
    EXPECT_FALSE(strict.outcome()) << wrong;
  }
}

}  // namespace
}  // namespace hako::api
