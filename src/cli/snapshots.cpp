// Boxes that stand still, go on, go back and are copied.
#include "base/encoding.h"
#include "cli/box.h"
#include "cli/commands.h"
#include "cli/lifecycle.h"
#include "cli/output.h"
#include "cli/text.h"

namespace hako::cli {
namespace json = boost::json;
namespace {

/// A box's memory goes to disk, or many boxes are made.
constexpr std::chrono::minutes kCopyTime{5};

Error no_box_id(const std::string& id) {
  return Error(ErrorCode::invalid_argument,
               "'" + printable_field(id) + "' is no id of a box: `hako ps` lists them");
}

/// In the words of this program where nothing is known of the box.
Error about_box(const std::string& id, const Error& error) {
  if (error.code() != ErrorCode::not_found) return error;
  return Error(ErrorCode::not_found, "there is no box '" + id + "': `hako ps` lists them");
}

/// Posts something about a box.
Task<Result<json::value>> ask_about(Api& api, std::string id, std::string path, json::object body,
                                    Duration limit = kCopyTime) {
  if (!is_box_id(id)) co_return no_box_id(id);
  json::value request = std::move(body);
  co_return co_await api.call(http::Verb::post, std::move(path), std::move(request), limit);
}

Task<int> pause_command(const GlobalOptions& global, const PauseOptions& options) {
  auto access = find_api(global);
  if (!access) co_return fail(access.error());
  Api api(access.value());
  int status = 0;
  for (const std::string& id : options.ids) {
    json::object body;
    body["memory"] = !options.files_only;
    auto paused = co_await ask_about(api, id, "/sandboxes/" + id + "/pause", std::move(body));
    if (paused) {
      print(id + "\n");
    } else {
      Error error = about_box(id, paused.error());
      status = fail(error);
    }
  }
  co_return status;
}

Task<int> resume_command(const GlobalOptions& global, const ResumeOptions& options) {
  auto access = find_api(global);
  if (!access) co_return fail(access.error());
  Api api(access.value());
  int status = 0;
  for (const std::string& id : options.ids) {
    json::object body;
    body["timeout"] = options.ttl.value_or(kLease).count();
    auto resumed = co_await ask_about(api, id, "/v2/sandboxes/" + id + "/connect", std::move(body));
    if (resumed) {
      print(id + "\n");
    } else {
      Error error = about_box(id, resumed.error());
      status = fail(error);
    }
  }
  co_return status;
}

Task<int> fork_command(const GlobalOptions& global, const ForkOptions& options) {
  auto access = find_api(global);
  if (!access) co_return fail(access.error());
  Api api(access.value());
  json::object body;
  body["count"] = options.count.value_or(1);
  body["timeout"] = options.ttl.value_or(kLease).count();
  auto answer =
      co_await ask_about(api, options.id, "/sandboxes/" + options.id + "/fork", std::move(body));
  if (!answer) {
    Error error = about_box(options.id, answer.error());
    co_return fail(error);
  }
  const json::array* children = answer.value().if_array();
  if (!children) co_return fail(Error(ErrorCode::corrupted, "the API's answer is no list"));
  if (global.json) print_json(answer.value());
  int status = 0;
  for (const json::value& entry : *children) {
    const json::object* fields = entry.if_object();
    const json::value* child = fields ? fields->if_contains("sandbox") : nullptr;
    const json::value* error = fields ? fields->if_contains("error") : nullptr;
    if (child && !global.json) print(printable_field(text_member(*child, "sandboxID")) + "\n");
    if (child) continue;
    print_note("a child could not be made: " +
               printable(error ? text_member(*error, "message") : std::string()));
    status = 1;
  }
  co_return status;
}

Task<int> snapshot_command(const GlobalOptions& global, const SnapshotOptions& options) {
  auto access = find_api(global);
  if (!access) co_return fail(access.error());
  Api api(access.value());
  json::object body;
  if (!options.name.empty()) body["name"] = options.name;
  auto answer = co_await ask_about(api, options.id, "/sandboxes/" + options.id + "/snapshots",
                                   std::move(body));
  if (!answer) {
    Error error = about_box(options.id, answer.error());
    co_return fail(error);
  }
  if (global.json) {
    print_json(answer.value());
  } else {
    print(printable_field(text_member(answer.value(), "snapshotID")) + "\n");
  }
  co_return 0;
}

Task<int> snapshots_command(const GlobalOptions& global, const SnapshotOptions& options) {
  auto access = find_api(global);
  if (!access) co_return fail(access.error());
  Api api(access.value());
  json::array all;
  std::string token;
  do {
    std::string target = "/snapshots?limit=100";
    if (!options.id.empty()) target += "&sandboxID=" + percent_encode(options.id);
    if (!token.empty()) target += "&nextToken=" + percent_encode(token);
    auto response = co_await api.request(http::Verb::get, target, std::nullopt, kRequestTime);
    if (!response) co_return fail(response.error());
    boost::system::error_code failed;
    json::value page = json::parse(response.value().body, failed);
    if (failed || !page.is_array()) {
      co_return fail(Error(ErrorCode::corrupted, "the API's answer is no list of snapshots"));
    }
    for (auto& each : page.get_array()) all.push_back(std::move(each));
    std::string next(response.value().fields["X-Next-Token"]);
    // The same place again were a list without an end.
    if (next == token) break;
    token = std::move(next);
  } while (!token.empty());
  if (global.json) {
    json::value list = std::move(all);
    print_json(list);
    co_return 0;
  }
  std::vector<std::vector<std::string>> rows;
  rows.push_back({"ID", "NAME", "BOX", "LABEL", "MADE", "MEMORY", "SIZE"});
  for (const json::value& each : all) {
    std::string name = "-";
    const json::value* names = each.is_object() ? each.get_object().if_contains("names") : nullptr;
    if (names && names->is_array() && !names->get_array().empty()) {
      const json::value& first = names->get_array().front();
      if (first.is_string()) name = printable_field(first.get_string());
    }
    rows.push_back({printable_field(text_member(each, "snapshotID")), name,
                    printable_field(text_member(each, "sandboxID")),
                    printable_field(text_member(each, "label")),
                    printable_field(text_member(each, "createdAt")),
                    std::to_string(number_member(each, "memoryMB")) + " MiB",
                    std::to_string(number_member(each, "sizeBytes") >> 20) + " MiB"});
  }
  print(format_table(rows));
  co_return 0;
}

Task<int> remove_snapshots_command(const GlobalOptions& global, std::vector<std::string> names) {
  auto access = find_api(global);
  if (!access) co_return fail(access.error());
  Api api(access.value());
  int status = 0;
  for (const std::string& name : names) {
    auto removed = co_await api.call(http::Verb::delete_, "/templates/" + percent_encode(name));
    if (removed) {
      print(name + "\n");
    } else if (removed.error().code() == ErrorCode::not_found) {
      status = fail(Error(ErrorCode::not_found, "there is no snapshot '" + printable_field(name) +
                                                    "': `hako snapshot ls` lists them"));
    } else {
      status = fail(removed.error());
    }
  }
  co_return status;
}

Task<int> rollback_command(const GlobalOptions& global, const RollbackOptions& options) {
  auto access = find_api(global);
  if (!access) co_return fail(access.error());
  Api api(access.value());
  json::object body;
  body["snapshotID"] = options.snapshot;
  auto rolled = co_await ask_about(api, options.id, "/v1/sandboxes/" + options.id + "/rollback",
                                   std::move(body));
  // Which of the two is not there the server says.
  if (!rolled) co_return fail(rolled.error());
  print(options.id + "\n");
  co_return 0;
}

}  // namespace

int pause_boxes(const GlobalOptions& global, const PauseOptions& options) {
  return run_to_end([&] { return pause_command(global, options); });
}

int resume_boxes(const GlobalOptions& global, const ResumeOptions& options) {
  return run_to_end([&] { return resume_command(global, options); });
}

int fork_box(const GlobalOptions& global, const ForkOptions& options) {
  return run_to_end([&] { return fork_command(global, options); });
}

int take_snapshot(const GlobalOptions& global, const SnapshotOptions& options) {
  return run_to_end([&] { return snapshot_command(global, options); });
}

int list_snapshots(const GlobalOptions& global, const SnapshotOptions& options) {
  return run_to_end([&] { return snapshots_command(global, options); });
}

int remove_snapshots(const GlobalOptions& global, const std::vector<std::string>& names) {
  return run_to_end([&] { return remove_snapshots_command(global, names); });
}

int roll_back_box(const GlobalOptions& global, const RollbackOptions& options) {
  return run_to_end([&] { return rollback_command(global, options); });
}

}  // namespace hako::cli
