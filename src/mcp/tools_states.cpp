// Tools about the states of boxes: paused, forked, kept, taken back.
#include <boost/json/array.hpp>

#include "mcp/tool.h"

namespace hako::mcp {
namespace json = boost::json;

namespace {

json::object told_snapshot(const json::value& answer) {
  static constexpr std::pair<std::string_view, std::string_view> kMembers[] = {
      {"snapshotID", "snapshot"}, {"names", "names"}};
  json::object snapshot;
  copy_members(answer, snapshot, kMembers);
  return snapshot;
}

/// A request about one box, with a body.
Task<Result<json::value>> ask_about(ToolCall& call, const std::string& path, json::object body) {
  std::optional<json::value> request(std::move(body));
  co_return co_await call.api.call(http::Verb::post, path, std::move(request), kBoxTime);
}

}  // namespace

Task<Result<json::object>> pause_box(ToolCall call) {
  HAKO_CO_TRY(auto box, box_of(call.arguments));
  json::object body;
  if (call.arguments.flag("files_only")) body["memory"] = false;
  auto paused = co_await ask_about(call, "/sandboxes/" + box + "/pause", std::move(body));
  if (paused) co_return done(box, "paused");
  // Pausing twice is no mistake of the model's.
  if (paused.error().code() == ErrorCode::already_exists) {
    HAKO_CO_TRY(auto detail, co_await call.api.call(http::Verb::get, "/sandboxes/" + box,
                                                    std::nullopt, kCallTime));
    if (text_in(detail, "state") == "paused") co_return done(box, "paused");
  }
  co_return paused.error();
}

Task<Result<json::object>> resume_box(ToolCall call) {
  HAKO_CO_TRY(auto box, box_of(call.arguments));
  json::object body;
  body["timeout"] = *call.arguments.number("ttl_seconds");
  // Connecting takes one that runs as well.
  HAKO_CO_TRYV(co_await ask_about(call, "/v2/sandboxes/" + box + "/connect", std::move(body)));
  co_return co_await box_info(call);
}

Task<Result<json::object>> fork_box(ToolCall call) {
  HAKO_CO_TRY(auto box, box_of(call.arguments));
  json::object body;
  body["count"] = *call.arguments.number("count");
  body["timeout"] = *call.arguments.number("ttl_seconds");
  HAKO_CO_TRY(auto answer, co_await ask_about(call, "/sandboxes/" + box + "/fork", std::move(body)));
  if (!answer.is_array())
    co_return Error(ErrorCode::corrupted, "the API's answer is no list of boxes");
  json::array boxes, problems;
  for (const json::value& entry : answer.get_array()) {
    const json::object* members = entry.if_object();
    const json::value* made = members ? members->if_contains("sandbox") : nullptr;
    const json::value* error = members ? members->if_contains("error") : nullptr;
    if (made && made->is_object()) boxes.emplace_back(text_in(*made, "sandboxID"));
    if (error && error->is_object()) problems.emplace_back(text_in(*error, "message"));
  }
  if (boxes.empty() && !problems.empty()) {
    const json::string& why = problems[0].get_string();
    co_return Error(ErrorCode::unavailable, std::string(why.data(), why.size()));
  }
  json::object forked;
  forked["boxes"] = std::move(boxes);
  if (!problems.empty()) forked["problems"] = std::move(problems);
  co_return forked;
}

Task<Result<json::object>> take_snapshot(ToolCall call) {
  HAKO_CO_TRY(auto box, box_of(call.arguments));
  json::object body;
  if (call.arguments.has("name")) body["name"] = call.arguments.text("name");
  HAKO_CO_TRY(auto answer,
              co_await ask_about(call, "/sandboxes/" + box + "/snapshots", std::move(body)));
  co_return told_snapshot(answer);
}

Task<Result<json::object>> list_snapshots(ToolCall call) {
  std::string target = "/snapshots?limit=" + std::to_string(*call.arguments.number("limit"));
  if (call.arguments.has("box")) {
    HAKO_CO_TRY(auto box, box_of(call.arguments));
    target += "&sandboxID=" + box;
  }
  co_return co_await list_page(call, std::move(target), "snapshots", told_snapshot);
}

Task<Result<json::object>> roll_back(ToolCall call) {
  HAKO_CO_TRY(auto box, box_of(call.arguments));
  json::object body;
  body["snapshotID"] = call.arguments.text("snapshot");
  HAKO_CO_TRYV(co_await ask_about(call, "/v1/sandboxes/" + box + "/rollback", std::move(body)));
  co_return done(box, "taken back");
}

}  // namespace hako::mcp
