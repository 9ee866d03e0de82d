// Looking at sandboxes from outside: logs and metrics.
#include <algorithm>

#include "api/handlers.h"
#include "api/now.h"
#include "api/query.h"
#include "base/clock.h"

namespace hako::api {
namespace json = boost::json;
using http::Response;

namespace {

constexpr int64_t kMostLogLines = 1000;
constexpr size_t kMostMetricsIds = 100;
/// The last second of which the milliseconds still fit.
constexpr int64_t kLastSecond = INT64_MAX / 1000 - 1;

Result<LogQuery> parse_logs(const Call& call, std::string_view since) {
  LogQuery query;
  HAKO_TRY(query.cursor_ms, query_number(call.head, since, INT64_MAX));
  HAKO_TRY(auto limit, query_number(call.head, "limit", INT64_MAX));
  query.limit = size_t(std::min(limit.value_or(kMostLogLines), kMostLogLines));
  std::string direction = call.head.parameter("direction").value_or("");
  if (!direction.empty() && direction != "forward" && direction != "backward") {
    return Error(ErrorCode::invalid_argument,
                 "query parameter direction must be forward or backward");
  }
  query.backward = direction == "backward";
  std::string level = call.head.parameter("level").value_or("");
  auto least = level.empty() ? Level::debug : level_of(level);
  if (!least) {
    return Error(ErrorCode::invalid_argument,
                 "query parameter level must be debug, info, warn or error");
  }
  query.least = *least;
  query.search = call.head.parameter("search").value_or("");
  return query;
}

/// All there is to read about a sandbox, in order of time.
Task<Result<std::vector<LogLine>>> all_lines(Service& service, std::string id, Principal who) {
  HAKO_CO_TRY(auto record, co_await service.sandboxes.find(id, who));
  HAKO_CO_TRY(auto console, co_await service.sandboxes.console(id, who));
  std::vector<LogLine> lines;
  LogLine first{record.started_ms, Level::info, "sandbox",
                "sandbox started from template " + record.template_name};
  lines.push_back(std::move(first));
  for (LogLine& line : console_lines(console, record.started_ms)) lines.push_back(std::move(line));
  for (LogLine& line : service.sandboxes.journal().lines(id)) lines.push_back(std::move(line));
  auto earlier = [](const LogLine& a, const LogLine& b) { return a.time_ms < b.time_ms; };
  std::stable_sort(lines.begin(), lines.end(), earlier);
  co_return lines;
}

json::array log_entries(const std::vector<LogLine>& lines) {
  json::array entries;
  for (const LogLine& line : lines) {
    json::object entry;
    entry["timestamp"] = to_rfc3339(from_unix_ms(line.time_ms));
    entry["level"] = std::string(to_string(line.level));
    entry["message"] = line.text;
    json::object fields;
    fields["source"] = line.source;
    entry["fields"] = std::move(fields);
    entries.push_back(std::move(entry));
  }
  return entries;
}

Result<std::vector<std::string>> ids_of(const Call& call) {
  std::string text = call.head.parameter("sandbox_ids").value_or("");
  std::vector<std::string> ids;
  std::string_view rest = text;
  while (!rest.empty()) {
    size_t comma = rest.find(',');
    std::string id(rest.substr(0, comma));
    rest = comma == rest.npos ? std::string_view() : rest.substr(comma + 1);
    if (id.empty() || std::find(ids.begin(), ids.end(), id) != ids.end()) continue;
    ids.push_back(std::move(id));
    if (ids.size() > kMostMetricsIds) {
      return Error(ErrorCode::invalid_argument, "query parameter sandbox_ids names more than 100");
    }
  }
  if (ids.empty())
    return Error(ErrorCode::invalid_argument, "query parameter sandbox_ids is required");
  return ids;
}

}  // namespace

Task<Result<Response>> logs_v1(Service& service, const Call& call) {
  HAKO_CO_TRY(auto query, parse_logs(call, "start"));
  query.tail = true;
  HAKO_CO_TRY(auto all, co_await all_lines(service, call.parameters[0], call.who));
  auto lines = select_lines(std::move(all), query);
  json::array plain;
  for (const LogLine& line : lines) {
    json::object entry;
    entry["timestamp"] = to_rfc3339(from_unix_ms(line.time_ms));
    entry["line"] = line.text;
    plain.push_back(std::move(entry));
  }
  json::object answer;
  answer["logs"] = std::move(plain);
  answer["logEntries"] = log_entries(lines);
  co_return Response::json(200, answer);
}

Task<Result<Response>> logs_v2(Service& service, const Call& call) {
  HAKO_CO_TRY(auto query, parse_logs(call, "cursor"));
  HAKO_CO_TRY(auto all, co_await all_lines(service, call.parameters[0], call.who));
  json::object answer;
  answer["logs"] = log_entries(select_lines(std::move(all), query));
  co_return Response::json(200, answer);
}

Task<Result<Response>> metrics(Service& service, const Call& call) {
  HAKO_CO_TRY(auto start, query_number(call.head, "start", kLastSecond));
  HAKO_CO_TRY(auto end, query_number(call.head, "end", kLastSecond));
  if (start && end && *start > *end) {
    co_return Error(ErrorCode::invalid_argument, "query parameter start is behind end");
  }
  HAKO_CO_TRY(auto record, co_await service.sandboxes.find(call.parameters[0], call.who));
  // The whole second that `end` names belongs to the range.
  int64_t to_ms = end ? *end * 1000 + 999 : INT64_MAX;
  bool runs = record.state == store::SandboxState::running;
  if (runs && to_ms >= unix_now_ms()) {
    std::vector<store::SandboxRecord> one{record};
    co_await service.metrics.refresh(std::move(one));
  }
  json::array samples;
  for (const Sample& sample : service.metrics.between(record.id, start.value_or(0) * 1000, to_ms)) {
    samples.push_back(sample_json(sample));
  }
  co_return Response::json(200, samples);
}

Task<Result<Response>> all_metrics(Service& service, const Call& call) {
  HAKO_CO_TRY(auto ids, ids_of(call));
  std::vector<store::SandboxRecord> found;
  for (const std::string& id : ids) {
    auto record = co_await service.sandboxes.find(id, call.who);
    // Of those that are not there nothing is said.
    if (record) {
      if (record.value().state == store::SandboxState::running) {
        found.push_back(std::move(record).value());
      }
    } else if (record.error().code() != ErrorCode::not_found) {
      co_return record.error();
    }
  }
  co_await service.metrics.refresh(found);
  json::object latest;
  for (const auto& record : found) {
    if (auto sample = service.metrics.latest(record.id)) latest[record.id] = sample_json(*sample);
  }
  json::object answer;
  answer["sandboxes"] = std::move(latest);
  co_return Response::json(200, answer);
}

}  // namespace hako::api
