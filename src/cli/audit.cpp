// Looking into the audit log.
#include <algorithm>
#include <boost/json/serialize.hpp>

#include "base/clock.h"
#include "base/encoding.h"
#include "cli/api.h"
#include "cli/audit_commands.h"
#include "cli/duration.h"
#include "cli/output.h"
#include "cli/text.h"

namespace hako::cli {
namespace json = boost::json;
namespace {

constexpr int kMostOfAPage = 1000;
/// Below what one request may take.
constexpr int kFollowMs = 20'000;

/// A time as the API takes it.
Result<std::string> time_from(const std::string& text) {
  if (text.empty() || from_rfc3339(text)) return text;
  auto span = parse_duration(text);
  if (span) return to_rfc3339(WallClock::now() - span.value());
  return Error(ErrorCode::invalid_argument,
               "'" + printable_field(text) +
                   "' is neither a time such as 2026-01-31T12:00:00Z nor "
                   "a span such as 2h");
}

Result<std::string> query_of(const AuditFilter& filter) {
  std::string query;
  auto add = [&](std::string_view name, const std::string& value) {
    if (!value.empty()) query += "&" + std::string(name) + "=" + percent_encode(value);
  };
  HAKO_TRY(auto since, time_from(filter.since));
  HAKO_TRY(auto until, time_from(filter.until));
  add("since", since);
  add("until", until);
  add("sandbox", filter.sandbox);
  add("actor", filter.actor);
  add("action", filter.action);
  add("outcome", filter.outcome);
  add("text", filter.text);
  add("tenant", filter.of_tenant);
  return query;
}

/// One record as a line: when, who, what, how it went, and what else there is.
std::string record_text(const json::value& record) {
  auto text = [&](std::string_view name) { return printable_field(text_member(record, name)); };
  std::string line = text("time") + " #" + std::to_string(number_member(record, "seq"));
  for (std::string_view name : {"tenant", "actor", "agent", "action", "sandbox", "outcome"}) {
    if (auto value = text(name); !value.empty()) line += " " + value;
  }
  if (auto reason = text("reason"); !reason.empty()) line += " (" + reason + ")";
  const auto* fields = record.if_object();
  const json::value* details = fields ? fields->if_contains("details") : nullptr;
  if (details && details->is_object()) {
    for (const auto& [name, value] : details->get_object()) {
      line += " " + printable_field({name.data(), name.size()}) + "=";
      line += value.is_string() ? printable_field(std::string(value.get_string()))
                                : json::serialize(value);
    }
  }
  if (fields && fields->contains("withheld")) line += " (withheld: " + text("label") + ")";
  return line;
}

void print_record(const GlobalOptions& global, const json::value& record) {
  print((global.json ? json::serialize(record) : record_text(record)) + "\n");
}

struct AuditPage {
  json::array records;
  int64_t next = 0;
  bool more = false;
};

Task<Result<AuditPage>> fetch(Api& api, std::string target) {
  HAKO_CO_TRY(auto answer, co_await api.call(http::Verb::get, std::move(target)));
  const auto* fields = answer.if_object();
  const json::value* records = fields ? fields->if_contains("records") : nullptr;
  const json::value* more = fields ? fields->if_contains("more") : nullptr;
  if (!records || !records->is_array() || !more || !more->is_bool()) {
    co_return Error(ErrorCode::corrupted, "the API's answer is no page of an audit log");
  }
  co_return AuditPage{records->get_array(), number_member(answer, "next"), more->get_bool()};
}

/// The latest that fit, the oldest first, and where the log ended.
Task<Result<AuditPage>> latest(Api& api, std::string query, int limit) {
  AuditPage all;
  std::string before;
  for (;;) {
    int wanted = std::min(limit - int(all.records.size()), kMostOfAPage);
    auto page = co_await fetch(api, "/v1/audit?limit=" + std::to_string(wanted) + before + query);
    if (!page) co_return page.error();
    for (json::value& record : page.value().records) all.records.push_back(std::move(record));
    int64_t next = page.value().next;
    if (!page.value().more || int(all.records.size()) >= limit || next <= 1) break;
    before = "&before=" + std::to_string(next);
  }
  std::reverse(all.records.begin(), all.records.end());
  co_return all;
}

Task<int> search_command(const GlobalOptions& global, const AuditFilter& filter, bool follow) {
  auto query = query_of(filter);
  if (!query) co_return fail(query.error());
  auto access = find_api(global);
  if (!access) co_return fail(access.error());
  Api api(access.value());
  int64_t next = 0;
  if (follow) {
    // Before looking: what comes in between is then told twice rather than never.
    auto end = co_await fetch(api, "/v1/audit?limit=1");
    if (!end) co_return fail(end.error());
    for (const auto& record : end.value().records) next = number_member(record, "seq");
  }
  auto found = co_await latest(api, query.value(), filter.limit);
  if (!found) co_return fail(found.error());
  for (const json::value& record : found.value().records) {
    print_record(global, record);
    next = std::max(next, number_member(record, "seq"));
  }
  while (follow) {
    std::string target = "/v1/audit?after=" + std::to_string(next) +
                         "&wait_ms=" + std::to_string(kFollowMs) + query.value();
    auto page = co_await fetch(api, std::move(target));
    if (!page) co_return fail(page.error());
    for (const json::value& record : page.value().records) print_record(global, record);
    if (page.value().next < next) {
      co_return fail(Error(ErrorCode::corrupted, "the API's answer is no page of an audit log"));
    }
    next = page.value().next;
  }
  co_return 0;
}

Task<int> key_command(const GlobalOptions& global) {
  auto access = find_api(global);
  if (!access) co_return fail(access.error());
  Api api(access.value());
  auto answer = co_await api.call(http::Verb::get, "/v1/audit/head");
  if (!answer) co_return fail(answer.error());
  if (global.json) {
    print_json(answer.value());
  } else {
    print("key " + printable_field(text_member(answer.value(), "publicKey")) + "\n");
    print("head " + std::to_string(number_member(answer.value(), "sequence")) + ":" +
          printable_field(text_member(answer.value(), "hash")) + "\n");
  }
  co_return 0;
}

}  // namespace

int search_audit(const GlobalOptions& global, const AuditFilter& filter, bool follow) {
  return run_to_end([&] { return search_command(global, filter, follow); });
}

int show_audit_key(const GlobalOptions& global) {
  return run_to_end([&] { return key_command(global); });
}

}  // namespace hako::cli
