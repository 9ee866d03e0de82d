// Tenants: what they may do, and how much they may have.
#include <boost/json.hpp>

#include "base/encoding.h"
#include "cli/api.h"
#include "cli/output.h"
#include "cli/tenant_commands.h"
#include "cli/text.h"
#include "policy/caveat.h"
#include "policy/narrowing_json.h"

namespace hako::cli {
namespace json = boost::json;
namespace {

std::string tenant_path(const std::string& name) {
  return "/v1/tenants/" + percent_encode(name);
}

bool is_suspended(const json::value& tenant) {
  const auto* fields = tenant.if_object();
  const json::value* flag = fields ? fields->if_contains("suspended") : nullptr;
  return flag && flag->is_bool() && flag->get_bool();
}

void overlay(json::object& onto, const json::object& what) {
  for (const auto& [name, value] : what) onto[name] = value;
}

/// What the quota is of, in the words of the API's `usage`.
constexpr std::pair<const char*, const char*> kUsed[] = {
    {"boxes", "boxes"},
    {"vcpus", "vcpus"},
    {"memoryMB", "memoryMB"},
    {"diskMB", "diskMB"},
    {"createsPerMinute", nullptr},
    {"egressBytesPerDay", "egressBytesToday"},
    {"modelRequestsPerMonth", nullptr},
    {"modelTokensPerMonth", nullptr},
    {"modelMicroUSDPerMonth", nullptr},
};

std::string shown_number(const json::object& object, const char* name) {
  if (!name || !object.contains(name)) return "-";
  json::value whole = object;
  return std::to_string(number_member(whole, name));
}

std::string tenant_text(const json::value& tenant) {
  std::string text = "tenant  " + printable_field(text_member(tenant, "name")) + "\n";
  text += std::string("state   ") + (is_suspended(tenant) ? "suspended" : "active") + "\n";
  text += "made    " + printable_field(text_member(tenant, "createdAt")) + "\n";
  for (const std::string& line : policy_lines(tenant)) text += "policy  " + line + "\n";
  json::object quota = object_member(tenant, "quota");
  json::object usage = object_member(tenant, "usage");
  std::vector<std::vector<std::string>> rows;
  rows.push_back({"OF ALL BOXES", "IN USE", "QUOTA"});
  for (const auto& [of_quota, of_usage] : kUsed) {
    rows.push_back({of_quota, shown_number(usage, of_usage), shown_number(quota, of_quota)});
  }
  return text + format_table(rows);
}

int print_tenant(const GlobalOptions& global, const json::value& tenant) {
  if (global.json) {
    print_json(tenant);
  } else {
    print(tenant_text(tenant));
  }
  return 0;
}

std::vector<std::string> tenant_row(const json::value& tenant) {
  return {printable_field(text_member(tenant, "name")),
          is_suspended(tenant) ? "suspended" : "active",
          printable_field(text_member(tenant, "createdAt"))};
}

Task<int> tenant_create_command(const GlobalOptions& global, const TenantOptions& options) {
  auto narrowing = narrowing_of(options.policy, WallClock::now());
  if (!narrowing) co_return fail(narrowing.error());
  auto access = find_api(global);
  if (!access) co_return fail(access.error());
  Api api(access.value());
  json::object wanted;
  wanted["name"] = options.name;
  wanted["policy"] = policy::to_json(narrowing.value());
  wanted["quota"] = policy::to_json(options.quota);
  json::value body = std::move(wanted);
  auto made = co_await api.call(http::Verb::post, "/v1/tenants", std::move(body));
  if (!made) co_return fail(made.error());
  co_return print_tenant(global, made.value());
}

Task<int> tenant_show_command(const GlobalOptions& global, const std::string& name) {
  auto access = find_api(global);
  if (!access) co_return fail(access.error());
  Api api(access.value());
  auto tenant = co_await api.call(http::Verb::get, tenant_path(name));
  if (!tenant) co_return fail(tenant.error());
  co_return print_tenant(global, tenant.value());
}

/// The body of a change: what is there, with what the options name put over it.
Result<json::value> changed(const json::value& before, const TenantOptions& options) {
  HAKO_TRY(auto narrowing, narrowing_of(options.policy, WallClock::now()));
  json::object policy = object_member(before, "policy");
  json::object quota = object_member(before, "quota");
  for (const std::string& member : options.unset) {
    HAKO_TRYV(take_out(member, policy, &quota, "hako tenant show NAME --json"));
  }
  overlay(policy, policy::to_json(narrowing));
  overlay(quota, policy::to_json(options.quota));
  json::object body;
  body["policy"] = std::move(policy);
  body["quota"] = std::move(quota);
  return json::value(std::move(body));
}

Task<int> tenant_set_command(const GlobalOptions& global, const TenantOptions& options) {
  auto access = find_api(global);
  if (!access) co_return fail(access.error());
  Api api(access.value());
  auto before = co_await api.call(http::Verb::get, tenant_path(options.name));
  if (!before) co_return fail(before.error());
  auto body = changed(before.value(), options);
  if (!body) co_return fail(body.error());
  auto after = co_await api.call(http::Verb::patch, tenant_path(options.name),
                                 std::move(body.value()));
  if (!after) co_return fail(after.error());
  co_return print_tenant(global, after.value());
}

Task<int> tenant_suspend_command(const GlobalOptions& global, const std::string& name,
                                 bool suspended) {
  auto access = find_api(global);
  if (!access) co_return fail(access.error());
  Api api(access.value());
  json::object wanted;
  wanted["suspended"] = suspended;
  json::value body = std::move(wanted);
  auto after = co_await api.call(http::Verb::patch, tenant_path(name), std::move(body));
  if (!after) co_return fail(after.error());
  print(name + "\n");
  co_return 0;
}

Task<int> tenant_remove_command(const GlobalOptions& global,
                                const std::vector<std::string>& names) {
  auto access = find_api(global);
  if (!access) co_return fail(access.error());
  Api api(access.value());
  int status = 0;
  for (const std::string& name : names) {
    auto gone = co_await api.call(http::Verb::delete_, tenant_path(name));
    if (gone) {
      print(name + "\n");
    } else {
      status = fail(gone.error());
    }
  }
  co_return status;
}

}  // namespace

std::vector<std::string> policy_lines(const json::value& answer) {
  std::vector<std::string> lines;
  auto narrowing = policy::narrowing_from(object_member(answer, "policy"));
  if (!narrowing) return {"(not understood: " + printable_field(narrowing.error().message()) + ")"};
  for (const std::string& caveat : policy::to_caveats(narrowing.value())) {
    lines.push_back(printable_field(caveat));
  }
  return lines;
}

json::object object_member(const json::value& object, std::string_view name) {
  const auto* fields = object.if_object();
  const json::value* member = fields ? fields->if_contains(name) : nullptr;
  return member && member->is_object() ? member->get_object() : json::object();
}

Result<void> take_out(const std::string& member, json::object& policy, json::object* quota,
                      std::string_view show) {
  size_t dot = member.find('.');
  std::string part = member.substr(0, dot);
  json::object* from = part == "policy" ? &policy : part == "quota" ? quota : nullptr;
  if (from && dot != std::string::npos && from->erase(member.substr(dot + 1)) > 0) return ok();
  return Error(ErrorCode::invalid_argument,
               "'" + printable_field(member) + "' is not set: `" + std::string(show) +
                   "` shows what is, as policy.X" + (quota ? " and quota.X" : ""));
}

Task<int> print_list(const GlobalOptions& global, std::string target, const char* name,
                     std::vector<std::string> heading,
                     std::function<std::vector<std::string>(const json::value&)> row) {
  auto access = find_api(global);
  if (!access) co_return fail(access.error());
  Api api(access.value());
  auto answer = co_await api.call(http::Verb::get, std::move(target));
  if (!answer) co_return fail(answer.error());
  const auto* fields = answer.value().if_object();
  const json::value* list = fields ? fields->if_contains(name) : nullptr;
  json::array all = list && list->is_array() ? list->get_array() : json::array();
  if (global.json) {
    json::value whole = std::move(all);
    print_json(whole);
    co_return 0;
  }
  std::vector<std::vector<std::string>> rows;
  rows.push_back(std::move(heading));
  for (const json::value& one : all) rows.push_back(row(one));
  print(format_table(rows));
  co_return 0;
}

int list_tenants(const GlobalOptions& global) {
  return run_to_end([&] {
    std::vector<std::string> heading{"NAME", "STATE", "MADE"};
    return print_list(global, "/v1/tenants", "tenants", std::move(heading), tenant_row);
  });
}

int create_tenant(const GlobalOptions& global, const TenantOptions& options) {
  return run_to_end([&] { return tenant_create_command(global, options); });
}

int show_tenant(const GlobalOptions& global, const std::string& name) {
  return run_to_end([&] { return tenant_show_command(global, name); });
}

int set_tenant(const GlobalOptions& global, const TenantOptions& options) {
  return run_to_end([&] { return tenant_set_command(global, options); });
}

int suspend_tenant(const GlobalOptions& global, const std::string& name, bool suspended) {
  return run_to_end([&] { return tenant_suspend_command(global, name, suspended); });
}

int remove_tenants(const GlobalOptions& global, const std::vector<std::string>& names) {
  return run_to_end([&] { return tenant_remove_command(global, names); });
}

}  // namespace hako::cli
