// Models: what they cost, which may be called, and the switch that stops them.
#include "api/handlers.h"
#include "api/model_budgets.h"
#include "base/clock.h"

namespace hako::api {
namespace json = boost::json;
using http::Response;
using store::ModelUsageBy;

namespace {

constexpr size_t kLongestBoxAsked = 256;

constexpr std::pair<std::string_view, ModelUsageBy> kUsageBy[] = {
    {"all", ModelUsageBy::all},   {"tenant", ModelUsageBy::tenant},
    {"agent", ModelUsageBy::agent}, {"key", ModelUsageBy::key},
    {"sandbox", ModelUsageBy::box}, {"model", ModelUsageBy::model},
    {"day", ModelUsageBy::day},
};

/// "2026-11-26", or nothing.
bool is_day(const std::string& text) {
  return text.size() == 10 && from_rfc3339(text + "T00:00:00Z").has_value();
}

Result<std::string> day_parameter(const Call& call, std::string_view name) {
  std::string text = call.head.parameter(name).value_or("");
  if (text.empty() || is_day(text)) return text;
  return Error(ErrorCode::invalid_argument, std::string(name) + " must be a day such as 2026-11-26");
}

Result<ModelUsageRequest> parse_usage_query(const Call& call) {
  ModelUsageRequest request;
  std::string by = call.head.parameter("by").value_or("");
  auto known = std::find_if(std::begin(kUsageBy), std::end(kUsageBy),
                            [&](const auto& each) { return each.first == by; });
  if (known != std::end(kUsageBy)) {
    request.by = known->second;
  } else if (!by.empty()) {
    return Error(ErrorCode::invalid_argument,
                 "by must be all, tenant, agent, key, sandbox, model or day");
  }
  HAKO_TRY(request.from_day, day_parameter(call, "from"));
  HAKO_TRY(request.to_day, day_parameter(call, "to"));
  if (auto box = call.head.parameter("sandbox"); box && !box->empty()) {
    if (box->size() > kLongestBoxAsked) {
      return Error(ErrorCode::invalid_argument, "sandbox is too long");
    }
    request.box = *box;
  }
  std::string all = call.head.parameter("allTenants").value_or("false");
  if (all != "true" && all != "false") {
    return Error(ErrorCode::invalid_argument, "allTenants must be true or false");
  }
  request.all_tenants = all == "true";
  return request;
}

json::object usage_row_json(const store::ModelUsageRow& row) {
  json::object object;
  object["group"] = row.group;
  object["requests"] = row.requests;
  object["inputTokens"] = row.tokens.input;
  object["cachedTokens"] = row.tokens.cached;
  object["cacheWriteTokens"] = row.tokens.cache_write;
  object["outputTokens"] = row.tokens.output;
  object["microUSD"] = row.microusd;
  object["unconfirmedTokens"] = row.unconfirmed_tokens;
  object["unconfirmedMicroUSD"] = row.unconfirmed_microusd;
  return object;
}

json::array texts_of(const std::vector<std::string>& texts) {
  return json::array(texts.begin(), texts.end());
}

json::object stop_json(const store::ModelStop& stop) {
  json::object object;
  object["tenant"] = stop.tenant;
  object["reason"] = stop.reason;
  object["by"] = stop.by;
  object["since"] = to_rfc3339(from_unix_ms(stop.since_ms));
  return object;
}

}  // namespace

Task<Result<Response>> model_usage(Service& service, const Call& call) {
  HAKO_CO_TRY(auto request, parse_usage_query(call));
  HAKO_CO_TRY(auto rows, co_await service.models.usage(std::move(request), call.who));
  co_return listed("usage", rows, usage_row_json);
}

Task<Result<Response>> list_models(Service& service, const Call& call) {
  HAKO_CO_TRY(auto stops, co_await service.models.stops(call.who));
  const config::Models& models = service.models.models();
  json::array endpoints, prices, stopped;
  for (const config::ModelEndpoint& each : models.endpoints) {
    json::object endpoint;
    endpoint["host"] = each.host;
    endpoint["port"] = each.port;
    endpoint["api"] = each.api;
    endpoints.push_back(std::move(endpoint));
  }
  for (const policy::ModelPrice& each : models.prices) {
    json::object price = policy::to_json(each);
    price["model"] = each.model;
    prices.push_back(std::move(price));
  }
  for (const store::ModelStop& each : stops) stopped.push_back(stop_json(each));
  json::object answer;
  answer["endpoints"] = std::move(endpoints);
  answer["allow"] = texts_of(models.allow);
  answer["extras"] = texts_of(models.extras);
  answer["prices"] = std::move(prices);
  answer["stopped"] = std::move(stopped);
  co_return Response::json(200, answer);
}

Task<Result<Response>> stop_models(Service& service, const Call& call) {
  HAKO_CO_TRY(auto wanted, parse_model_switch(call.body, true));
  HAKO_CO_TRYV(co_await service.models.stop(std::move(wanted), call.who));
  co_return Response::empty();
}

Task<Result<Response>> start_models(Service& service, const Call& call) {
  HAKO_CO_TRY(auto wanted, parse_model_switch(call.body, false));
  HAKO_CO_TRYV(co_await service.models.start(std::move(wanted), call.who));
  co_return Response::empty();
}

}  // namespace hako::api
