// Calls of models: what they cost, and the switch that stops them.
#include <boost/json.hpp>

#include "base/encoding.h"
#include "cli/api.h"
#include "cli/model_commands.h"
#include "cli/output.h"
#include "cli/tenant_commands.h"
#include "cli/text.h"

namespace hako::cli {
namespace json = boost::json;
namespace {

std::string usage_target(const UsageOptions& options) {
  std::string target = "/v1/usage?by=" + percent_encode(options.by);
  if (!options.from.empty()) target += "&from=" + percent_encode(options.from);
  if (!options.to.empty()) target += "&to=" + percent_encode(options.to);
  if (!options.sandbox.empty()) target += "&sandbox=" + percent_encode(options.sandbox);
  if (options.all_tenants) target += "&allTenants=true";
  return target;
}

std::vector<std::string> usage_row(const json::value& row) {
  std::string group = text_member(row, "group");
  std::vector<std::string> columns = {group.empty() ? "-" : printable_field(group)};
  for (const char* name :
       {"requests", "inputTokens", "cachedTokens", "cacheWriteTokens", "outputTokens"}) {
    columns.push_back(std::to_string(number_member(row, name)));
  }
  columns.push_back(shown_usd(number_member(row, "microUSD")));
  columns.push_back(std::to_string(number_member(row, "unconfirmedTokens")));
  columns.push_back(shown_usd(number_member(row, "unconfirmedMicroUSD")));
  return columns;
}

std::string upper(std::string text) {
  for (char& c : text) c = c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
  return text;
}

json::array array_member(const json::value& answer, const char* name) {
  const auto* fields = answer.if_object();
  const json::value* list = fields ? fields->if_contains(name) : nullptr;
  return list && list->is_array() ? list->get_array() : json::array();
}

std::string models_text(const json::value& answer) {
  std::vector<std::vector<std::string>> servers = {{"SERVER", "PORT", "API"}};
  for (const json::value& one : array_member(answer, "endpoints")) {
    servers.push_back({printable_field(text_member(one, "host")),
                       std::to_string(number_member(one, "port")),
                       printable_field(text_member(one, "api"))});
  }
  std::vector<std::vector<std::string>> prices = {
      {"MODEL", "INPUT", "CACHED", "CACHE WRITE", "1 HOUR", "OUTPUT"}};
  for (const json::value& one : array_member(answer, "prices")) {
    std::vector<std::string> row = {printable_field(text_member(one, "model"))};
    for (const char* name : {"input", "cached", "cacheWrite", "cacheWrite1h", "output"}) {
      row.push_back(shown_usd(number_member(one, name)));
    }
    prices.push_back(std::move(row));
  }
  std::string text = format_table(servers) + "\n" + format_table(prices);
  for (const json::value& one : array_member(answer, "stopped")) {
    std::string tenant = text_member(one, "tenant");
    std::string reason = text_member(one, "reason");
    text += "\nstopped for " + (tenant.empty() ? "all" : "tenant " + printable_field(tenant)) +
            " since " + printable_field(text_member(one, "since"));
    if (!reason.empty()) text += ": " + printable_field(reason);
  }
  return text.ends_with('\n') ? text : text + "\n";
}

Task<int> models_command(const GlobalOptions& global) {
  auto access = find_api(global);
  if (!access) co_return fail(access.error());
  Api api(access.value());
  auto answer = co_await api.call(http::Verb::get, "/v1/models");
  if (!answer) co_return fail(answer.error());
  if (global.json) {
    print_json(answer.value());
  } else {
    print(models_text(answer.value()));
  }
  co_return 0;
}

Task<int> switch_command(const GlobalOptions& global, const ModelSwitchOptions& options,
                         std::string target) {
  auto access = find_api(global);
  if (!access) co_return fail(access.error());
  Api api(access.value());
  json::object wanted;
  if (options.everybody) wanted["tenant"] = "";
  if (!options.reason.empty()) wanted["reason"] = options.reason;
  json::value body = std::move(wanted);
  auto done = co_await api.call(http::Verb::post, std::move(target), std::move(body));
  if (!done) co_return fail(done.error());
  co_return 0;
}

}  // namespace

Result<int64_t> parse_usd(std::string_view text) {
  constexpr size_t kMostDollarDigits = 9;
  constexpr size_t kFractionDigits = 6;
  size_t point = text.find('.');
  std::string dollars(text.substr(0, point));
  std::string fraction(point == text.npos ? "" : text.substr(point + 1));
  bool digits = (dollars + fraction).find_first_not_of("0123456789") == std::string::npos;
  if (!digits || dollars.empty() || dollars.size() > kMostDollarDigits ||
      fraction.size() > kFractionDigits || (point != text.npos && fraction.empty())) {
    return Error(ErrorCode::invalid_argument,
                 "'" + printable_field(std::string(text)) + "' is no amount of dollars like 2.50");
  }
  fraction.resize(kFractionDigits, '0');
  return std::stoll(dollars + fraction);
}

void put_model_limits(json::object& request, const ModelLimits& limits) {
  json::object models;
  if (!limits.models.empty()) {
    models["allow"] = json::array(limits.models.begin(), limits.models.end());
  }
  if (limits.requests) models["requests"] = *limits.requests;
  if (limits.tokens) models["tokens"] = *limits.tokens;
  if (limits.microusd) models["microUSD"] = *limits.microusd;
  if (!models.empty()) request["models"] = std::move(models);
}

std::string shown_usd(int64_t microusd) {
  std::string digits = std::to_string(microusd);
  constexpr size_t kFraction = 6;
  if (digits.size() <= kFraction) digits.insert(0, kFraction + 1 - digits.size(), '0');
  digits.insert(digits.size() - kFraction, ".");
  return "$" + digits;
}

int show_model_usage(const GlobalOptions& global, const UsageOptions& options) {
  return run_to_end([&] {
    std::vector<std::string> heading{upper(options.by), "CALLS",  "INPUT", "CACHED",
                                     "CACHE WRITE",     "OUTPUT", "COST",  "UNCONFIRMED",
                                     "AT MOST"};
    return print_list(global, usage_target(options), "usage", std::move(heading), usage_row);
  });
}

int list_models(const GlobalOptions& global) {
  return run_to_end([&] { return models_command(global); });
}

int stop_models(const GlobalOptions& global, const ModelSwitchOptions& options) {
  return run_to_end([&] { return switch_command(global, options, "/v1/models/stop"); });
}

int start_models(const GlobalOptions& global, const ModelSwitchOptions& options) {
  return run_to_end([&] { return switch_command(global, options, "/v1/models/start"); });
}

}  // namespace hako::cli
