#include <boost/json/serialize.hpp>

#include "base/clock.h"
#include "cli/box.h"
#include "cli/commands.h"
#include "cli/duration.h"
#include "cli/lifecycle.h"
#include "cli/log_tail.h"
#include "cli/output.h"
#include "cli/text.h"

namespace hako::cli {
namespace json = boost::json;
namespace {

/// "3m" since or until an RFC 3339 time, with two units at most; "-" if it is none.
std::string span_text(const std::string& time, bool until) {
  auto at = from_rfc3339(time);
  if (!at) return "-";
  auto span = until ? *at - WallClock::now() : WallClock::now() - *at;
  auto seconds = std::chrono::duration_cast<std::chrono::seconds>(span);
  if (seconds >= std::chrono::hours(1)) seconds -= seconds % std::chrono::minutes(1);
  return format_duration(std::max(seconds, std::chrono::seconds(0)));
}

std::string field(const json::value& box, std::string_view name) {
  std::string text = text_member(box, name);
  return text.empty() ? "-" : printable_field(text);
}

std::string template_of(const json::value& box) {
  std::string alias = text_member(box, "alias");
  return alias.empty() ? field(box, "templateID") : printable_field(alias);
}

/// Then its end is when that was done.
bool is_paused(const json::value& box) {
  return text_member(box, "state") == "paused";
}

Task<int> create_command(const GlobalOptions& global, const BoxOptions& options) {
  auto config = load_config(global);
  if (!config) co_return fail(config.error());
  auto access = find_api(global);
  if (!access) co_return fail(access.error());
  Api api(access.value());
  auto answer = co_await create(api, options, config.value().default_template);
  if (!answer) co_return fail(answer.error());
  auto box = box_from_answer(answer.value(), api.endpoint());
  if (!box) co_return fail(box.error());
  if (global.json) {
    print_json(answer.value());
  } else {
    print(box.value().id + "\n");
  }
  co_return 0;
}

Task<int> list_command(const GlobalOptions& global) {
  auto access = find_api(global);
  if (!access) co_return fail(access.error());
  Api api(access.value());
  auto boxes = co_await list_all(api);
  if (!boxes) co_return fail(boxes.error());
  if (global.json) {
    json::value all = std::move(boxes.value());
    print_json(all);
    co_return 0;
  }
  std::vector<std::vector<std::string>> rows;
  rows.push_back({"ID", "TEMPLATE", "STATE", "LABEL", "AGE", "ENDS IN", "MEMORY", "CPUS"});
  for (const auto& box : boxes.value())
    rows.push_back({field(box, "sandboxID"), template_of(box), field(box, "state"),
                    field(box, "label"), span_text(text_member(box, "startedAt"), false),
                    is_paused(box) ? "-" : span_text(text_member(box, "endAt"), true),
                    std::to_string(number_member(box, "memoryMB")) + " MiB",
                    std::to_string(number_member(box, "cpuCount"))});
  print(format_table(rows));
  co_return 0;
}

Task<int> info_command(const GlobalOptions& global, const std::string& id) {
  auto access = find_api(global);
  if (!access) co_return fail(access.error());
  if (!is_box_id(id))
    co_return fail(Error(ErrorCode::invalid_argument,
                         "'" + printable_field(id) + "' is no id of a box: `hako ps` lists them"));
  Api api(access.value());
  auto answer = co_await api.call(http::Verb::get, "/sandboxes/" + id);
  if (!answer && answer.error().code() == ErrorCode::not_found)
    co_return fail(missing_box(id, answer.error()));
  if (!answer) co_return fail(answer.error());
  if (global.json) {
    print_json(answer.value());
    co_return 0;
  }
  const json::value& box = answer.value();
  std::vector<std::vector<std::string>> rows;
  rows.push_back({"id", field(box, "sandboxID")});
  rows.push_back({"template", template_of(box)});
  rows.push_back({"state", field(box, "state")});
  if (std::string isolation = text_member(box, "isolation"); !isolation.empty())
    rows.push_back({"isolation", printable_field(isolation)});
  if (std::string label = text_member(box, "label"); !label.empty())
    rows.push_back({"label", printable_field(label)});
  if (const auto* egress = box.get_object().if_contains("egress"))
    rows.push_back({"egress", field(*egress, "level")});
  rows.push_back({"started", field(box, "startedAt")});
  std::string end = text_member(box, "endAt");
  if (is_paused(box)) {
    rows.push_back({"paused", field(box, "endAt") + " (" + span_text(end, false) + " ago)"});
  } else {
    rows.push_back({"ends", field(box, "endAt") + " (in " + span_text(end, true) + ")"});
  }
  rows.push_back({"memory", std::to_string(number_member(box, "memoryMB")) + " MiB"});
  rows.push_back({"cpus", std::to_string(number_member(box, "cpuCount"))});
  rows.push_back({"disk", std::to_string(number_member(box, "diskSizeMB")) + " MiB"});
  if (const auto* metadata = box.get_object().if_contains("metadata"))
    if (const auto* pairs = metadata->if_object())
      for (const auto& [key, value] : *pairs)
        rows.push_back({"metadata " + printable_field(key),
                        value.is_string() ? printable_field(value.get_string())
                                          : printable_field(json::serialize(value))});
  print(format_table(rows));
  co_return 0;
}

Task<int> kill_command(const GlobalOptions& global, std::vector<std::string> ids, bool all) {
  auto access = find_api(global);
  if (!access) co_return fail(access.error());
  Api api(access.value());
  if (all) {
    auto boxes = co_await list_all(api);
    if (!boxes) co_return fail(boxes.error());
    for (const auto& box : boxes.value()) ids.push_back(text_member(box, "sandboxID"));
    std::vector<std::string> done;
    auto gone = co_await destroy_all(access.value(), std::move(ids), done);
    for (const auto& id : done) print(id + "\n");
    if (!gone) co_return fail(gone.error());
    co_return 0;
  }
  int status = 0;
  for (const auto& id : ids) {
    if (!is_box_id(id)) {
      status = fail(
          Error(ErrorCode::invalid_argument, "'" + printable_field(id) + "' is no id of a box"));
      continue;
    }
    auto gone = co_await api.call(http::Verb::delete_, "/sandboxes/" + id, std::nullopt, kBoxTime);
    if (gone) {
      print(id + "\n");
    } else if (gone.error().code() == ErrorCode::not_found) {
      status = fail(Error(ErrorCode::not_found, "there is no box '" + id + "'"));
    } else {
      status = fail(gone.error());
    }
  }
  co_return status;
}

Task<Result<std::vector<std::string>>> fetch_log(Api& api, std::string id) {
  HAKO_CO_TRY(auto answer,
              co_await api.call(http::Verb::get, "/sandboxes/" + id + "/logs?limit=1000"));
  std::vector<std::string> lines;
  const json::value* entries = nullptr;
  if (const auto* object = answer.if_object()) entries = object->if_contains("logs");
  if (!entries || !entries->is_array())
    co_return Error(ErrorCode::corrupted, "the API's answer holds no log");
  for (const auto& entry : entries->get_array()) {
    std::string line = text_member(entry, "line");
    if (line.empty()) line = text_member(entry, "message");
    lines.push_back(std::move(line));
  }
  co_return lines;
}

Task<int> logs_command(const GlobalOptions& global, const LogsOptions& options) {
  auto access = find_api(global);
  if (!access) co_return fail(access.error());
  if (!is_box_id(options.id))
    co_return fail(Error(ErrorCode::invalid_argument,
                         "'" + printable_field(options.id) + "' is no id of a box"));
  Api api(access.value());
  std::vector<std::string> shown;
  while (true) {
    auto lines = co_await fetch_log(api, options.id);
    if (!lines && !shown.empty() && lines.error().code() == ErrorCode::not_found) co_return 0;
    if (!lines && lines.error().code() == ErrorCode::not_found)
      co_return fail(Error(ErrorCode::not_found, "there is no box '" + options.id + "'"));
    if (!lines) co_return fail(lines.error());
    for (size_t i = first_new_line(shown, lines.value()); i < lines.value().size(); ++i)
      print(printable(lines.value()[i]) + "\n");
    if (!options.follow) co_return 0;
    shown = std::move(lines.value());
    co_await sleep_for(std::chrono::seconds(1));
  }
}

}  // namespace

int create_box(const GlobalOptions& global, const BoxOptions& options) {
  return run_to_end([&] { return create_command(global, options); });
}

int list_boxes(const GlobalOptions& global) {
  return run_to_end([&] { return list_command(global); });
}

int show_box(const GlobalOptions& global, const std::string& id) {
  return run_to_end([&] { return info_command(global, id); });
}

int kill_boxes(const GlobalOptions& global, const std::vector<std::string>& ids, bool all) {
  return run_to_end([&] { return kill_command(global, ids, all); });
}

int show_logs(const GlobalOptions& global, const LogsOptions& options) {
  return run_to_end([&] { return logs_command(global, options); });
}

}  // namespace hako::cli
