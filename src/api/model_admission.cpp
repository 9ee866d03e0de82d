#include "api/model_admission.h"

#include <algorithm>
#include <ctime>

#include "api/egress_policy.h"
#include "api/model_terms.h"
#include "api/principal.h"
#include "api/tenants.h"

namespace hako::api {
namespace json = boost::json;
using policy::Narrowing;
using policy::PermissionLayer;
using store::ModelAmount;
using store::ModelBudget;

namespace {

/// What providers put around what is in the body: the marks of messages, instructions for tools.
constexpr int64_t kTokensAround = 1024;
/// What no call takes; so that no sum of what is counted can run over.
constexpr int64_t kMostTokensSetAside = 2'000'000'000;
constexpr int64_t kMostMicrousdSetAside = 10'000'000'000'000;

Error not_let_through(std::string why) {
  return Error(ErrorCode::permission_denied, std::move(why));
}

Result<void> check_switches(const store::ModelStore::Facts& facts) {
  for (const store::ModelStop& stop : facts.stops) {
    std::string whose = stop.tenant.empty() ? "" : " of tenant " + stop.tenant;
    std::string why = stop.reason.empty() ? "" : ": " + stop.reason;
    return not_let_through("calls of models" + whose + " are stopped" + why);
  }
  if (facts.tenant.suspended) return not_let_through("the tenant is suspended");
  return ok();
}

/// The layers that say something of models, from the widest to the narrowest, each with the name under
/// which it is counted.
Result<policy::Permission> layers_of(const config::Models& models, int64_t now_ms,
                                     const store::ModelStore::Facts& facts) {
  if (!facts.key) return not_let_through("the key that made this sandbox is no more");
  if (facts.key->expires_ms != 0 && facts.key->expires_ms <= now_ms) {
    return not_let_through("the key that made this sandbox has expired");
  }
  policy::Permission layers;
  PermissionLayer platform;
  platform.name = "platform";
  platform.leaves.models.emplace(models.allow.begin(), models.allow.end());
  layers.push_back(std::move(platform));
  PermissionLayer tenant;
  tenant.name = "tenant " + facts.tenant.name;
  tenant.budget = budget_of_tenant(facts.tenant.name);
  HAKO_TRY(tenant.leaves, policy_of(facts.tenant));
  layers.push_back(std::move(tenant));
  PermissionLayer key;
  key.name = "key " + facts.key->id;
  key.budget = budget_of_key(facts.key->id);
  HAKO_TRY(key.leaves, policy_of(*facts.key));
  layers.push_back(std::move(key));
  HAKO_TRY(auto terms, model_terms_of(facts.box.options));
  for (PermissionLayer& caveat : terms.caveats) {
    if (policy::counts_model_calls(caveat.leaves) && caveat.budget.empty()) {
      return Error(ErrorCode::corrupted, "a budget of the sandbox has no name");
    }
    layers.push_back(std::move(caveat));
  }
  PermissionLayer box;
  box.name = "sandbox " + facts.box.id;
  box.budget = budget_of_box(facts.box.id);
  box.leaves = std::move(terms.box);
  layers.push_back(std::move(box));
  return layers;
}

Result<void> check_extras(const config::Models& models, const ModelCallRequest& call) {
  std::set<std::string> allowed(models.extras.begin(), models.extras.end());
  for (const std::string& extra : call.extras) {
    if (policy::names_model(allowed, extra)) continue;
    return not_let_through("the call asks for '" + extra +
                           "', which reaches beyond the model or costs otherwise, and the operator "
                           "has not allowed it");
  }
  return ok();
}

/// A most of something, and whose it is.
struct Cap {
  std::string whose;
  ModelBudget budget;
  std::optional<int64_t> requests, tokens, microusd;

  bool is_any() const { return requests || tokens || microusd; }
};

std::string dollars(int64_t microusd) {
  std::string digits = std::to_string(microusd);
  constexpr size_t kFraction = 6;
  if (digits.size() <= kFraction) digits.insert(0, kFraction + 1 - digits.size(), '0');
  digits.insert(digits.size() - kFraction, ".");
  return "$" + digits;
}

Error spent(const Cap& cap, const std::string& most, const std::string& used,
            const std::string& wanted) {
  std::string text = "the model budget of " + cap.whose + " is spent: of " + most + " " + used +
                     " are used or set aside for calls that go on";
  if (!wanted.empty()) text += ", and this call may take " + wanted;
  return Error(ErrorCode::resource_exhausted, std::move(text));
}

Result<void> check_cap(const Cap& cap, const ModelAmount& wanted, bool priced,
                       const store::ModelStore::Count& count) {
  if (!cap.is_any()) return ok();
  if (cap.microusd && !priced) {
    return not_let_through("the model has no price, and " + cap.whose +
                           " has a budget in money: what cannot be counted is refused");
  }
  HAKO_TRY(auto counted, count(cap.budget));
  ModelAmount used = counted.all();
  auto fits = [](const std::optional<int64_t>& most, int64_t has, int64_t more) {
    return !most || (has <= *most && more <= *most - has);
  };
  auto number = [](int64_t value, const char* unit) { return std::to_string(value) + unit; };
  if (!fits(cap.requests, used.requests, wanted.requests)) {
    return spent(cap, number(*cap.requests, " calls"), std::to_string(used.requests), "");
  }
  if (!fits(cap.tokens, used.tokens, wanted.tokens)) {
    return spent(cap, number(*cap.tokens, " tokens"), std::to_string(used.tokens),
                 number(wanted.tokens, ""));
  }
  if (!fits(cap.microusd, used.microusd, wanted.microusd)) {
    return spent(cap, dollars(*cap.microusd), dollars(used.microusd), dollars(wanted.microusd));
  }
  return ok();
}

Result<std::vector<Cap>> caps_of(const policy::Permission& layers, int64_t now_ms,
                                 const store::TenantRecord& tenant) {
  std::vector<Cap> caps;
  for (const PermissionLayer& layer : layers) {
    const Narrowing& leaves = layer.leaves;
    caps.push_back({layer.name,
                    {layer.budget, ""},
                    leaves.model_requests,
                    leaves.model_tokens,
                    leaves.model_microusd});
  }
  HAKO_TRY(auto quota, read_quota(tenant.quota));
  caps.push_back({"tenant " + tenant.name + " for this month",
                  {budget_of_tenant(tenant.name), model_period(now_ms)},
                  quota.model_requests_per_month,
                  quota.model_tokens_per_month,
                  quota.model_microusd_per_month});
  return caps;
}

/// All of them, also those without a cap: one that gets a cap later has counted by then.
std::vector<ModelBudget> budgets_of(const std::vector<Cap>& caps) {
  std::vector<ModelBudget> budgets;
  for (const Cap& cap : caps) {
    bool known = std::find(budgets.begin(), budgets.end(), cap.budget) != budgets.end();
    if (!cap.budget.name.empty() && !known) budgets.push_back(cap.budget);
  }
  return budgets;
}

int64_t sum_of(const store::ModelTokens& tokens) {
  return tokens.input + tokens.cached + tokens.cache_write;
}

policy::TokenCounts counts_of(const store::ModelTokens& tokens) {
  return {tokens.input, tokens.cached, tokens.cache_write, tokens.cache_write_1h, tokens.output};
}

Result<std::optional<policy::ModelPrice>> price_of_call(const std::string& stored) {
  std::optional<policy::ModelPrice> price;
  if (stored.empty()) return price;
  json::error_code bad;
  json::value value = json::parse(stored, bad);
  if (bad || !value.is_object()) {
    return Error(ErrorCode::corrupted, "the price of a model call cannot be read");
  }
  HAKO_TRY(price, policy::price_from_json(value.get_object()));
  return price;
}

}  // namespace

std::string model_period(int64_t now_ms) {
  return traffic_period(now_ms).substr(0, 7);
}

std::string budget_of_box(std::string_view box) {
  return "box:" + std::string(box);
}

ModelBound bound_of(const config::Models& models, const ModelCallRequest& call) {
  const policy::ModelPrice* price = policy::price_of(models.prices, call.model);
  ModelBound bound;
  bound.priced = price != nullptr;
  int64_t context = models.context_tokens;
  int64_t output = models.max_output_tokens;
  if (price && price->context_tokens) context = *price->context_tokens;
  if (price && price->max_output_tokens) output = *price->max_output_tokens;
  // A token has at least one byte; what the provider fetches or unpacks has as many as fit.
  int64_t said = call.input_bytes + kTokensAround;
  bound.input_tokens = call.opaque_input ? std::max(context, said) : said;
  bound.output_tokens = call.max_output_tokens.value_or(output * call.answers);
  if (price) bound.microusd = policy::most_cost_of(*price, bound.input_tokens, bound.output_tokens);
  return bound;
}

Result<store::ModelReservation> admit_model_call(const config::Models& models,
                                                 const ModelCallRequest& call, std::string id,
                                                 int64_t now_ms,
                                                 const store::ModelStore::Facts& facts,
                                                 const store::ModelStore::Count& count) {
  HAKO_TRYV(check_switches(facts));
  const config::ModelEndpoint* endpoint = models.endpoint(call.host, call.port);
  if (!endpoint || endpoint->api != call.api) {
    return not_let_through(call.host + " is no server of models here");
  }
  HAKO_TRY(auto layers, layers_of(models, now_ms, facts));
  auto allowed = policy::may_call_model(layers, call.model);
  if (!allowed.allowed) return refused_by(allowed);
  HAKO_TRYV(check_extras(models, call));

  ModelBound bound = bound_of(models, call);
  if (bound.input_tokens + bound.output_tokens > kMostTokensSetAside ||
      bound.microusd > kMostMicrousdSetAside) {
    return not_let_through("the call may take more than can be set aside; set a lower limit for its"
                           " answer");
  }
  ModelAmount wanted{1, bound.input_tokens + bound.output_tokens, bound.microusd};
  HAKO_TRY(auto caps, caps_of(layers, now_ms, facts.tenant));
  for (const Cap& cap : caps) {
    HAKO_TRYV(check_cap(cap, wanted, bound.priced, count));
  }

  store::ModelReservation reservation;
  reservation.id = std::move(id);
  reservation.box = facts.box.id;
  reservation.tenant = facts.tenant.name;
  reservation.agent = facts.box.agent;
  reservation.key_id = facts.box.key_id;
  reservation.host = call.host;
  reservation.model = call.model;
  reservation.budgets = budgets_of(caps);
  reservation.input_tokens = bound.input_tokens;
  reservation.output_tokens = bound.output_tokens;
  reservation.microusd = bound.microusd;
  if (const policy::ModelPrice* price = policy::price_of(models.prices, call.model)) {
    reservation.prices = json::serialize(policy::to_json(*price));
  }
  reservation.created_ms = now_ms;
  return reservation;
}

Result<store::ModelSettlement> settle_model_call(const store::ModelReservation& reservation,
                                                 const ModelCallEnd& end) {
  HAKO_TRY(auto price, price_of_call(reservation.prices));
  store::ModelSettlement settlement;
  settlement.outcome = to_string(end.outcome);
  settlement.requests = end.went_out ? 1 : 0;
  if (end.outcome == ModelOutcome::failed || !end.went_out) return settlement;
  bool says = end.outcome == ModelOutcome::ok || end.outcome == ModelOutcome::cut;
  if (says) settlement.told = end.tokens;
  if (price) settlement.told_microusd = policy::cost_of(*price, counts_of(settlement.told));
  if (end.outcome == ModelOutcome::ok) return settlement;
  // An answer says its input at once and whole, and its output bit by bit.
  int64_t input = sum_of(settlement.told) == 0 ? reservation.input_tokens : 0;
  int64_t output = std::max<int64_t>(0, reservation.output_tokens - settlement.told.output);
  settlement.unconfirmed_tokens = input + output;
  if (price) settlement.unconfirmed_microusd = policy::most_cost_of(*price, input, output);
  return settlement;
}

}  // namespace hako::api
