// What a tool is.
#pragma once

#include <boost/json/object.hpp>

#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "base/async/task.h"
#include "mcp/arguments.h"
#include "mcp/upstream.h"

namespace hako::mcp {

/// One use of a tool.
struct ToolCall {
  Api& api;
  const Upstream& upstream;
  const Arguments& arguments;
  /// Tells the client how far it is: a number that rises, and words for people. Empty where nobody
  /// wants to know.
  std::function<void(double progress, std::string text)> progress;
  /// Set before the task is cancelled because the client wants it ended; not where the client has
  /// merely gone, which says nothing about what runs in a box.
  const bool& ended_by_client;
};

struct Hints {
  bool read_only = false;
  bool destructive = false;
  bool idempotent = false;
  bool open_world = false;
};

struct Tool {
  std::string_view name;
  std::string_view title;
  std::string_view description;
  Hints hints;
  std::span<const Parameter> parameters;
  /// The members of its result, as JSON Schema of an object: text, as it is long.
  std::string_view output;
  Task<Result<boost::json::object>> (*handler)(ToolCall call);
};

/// All there are, in the order in which they are listed.
std::span<const Tool> tools();
const Tool* find_tool(std::string_view name);
/// As tools/list has it.
boost::json::object describe(const Tool& tool);

// tools_boxes.cpp
Task<Result<boost::json::object>> create_box(ToolCall call);
Task<Result<boost::json::object>> list_boxes(ToolCall call);
Task<Result<boost::json::object>> box_info(ToolCall call);
Task<Result<boost::json::object>> kill_box(ToolCall call);
Task<Result<boost::json::object>> set_box_timeout(ToolCall call);
Task<Result<boost::json::object>> expose_port(ToolCall call);
// tools_states.cpp
Task<Result<boost::json::object>> pause_box(ToolCall call);
Task<Result<boost::json::object>> resume_box(ToolCall call);
Task<Result<boost::json::object>> fork_box(ToolCall call);
Task<Result<boost::json::object>> take_snapshot(ToolCall call);
Task<Result<boost::json::object>> list_snapshots(ToolCall call);
Task<Result<boost::json::object>> roll_back(ToolCall call);
// tools_files.cpp
Task<Result<boost::json::object>> read_file(ToolCall call);
Task<Result<boost::json::object>> write_file(ToolCall call);
Task<Result<boost::json::object>> edit_file(ToolCall call);
Task<Result<boost::json::object>> list_files(ToolCall call);
// tools_run.cpp
Task<Result<boost::json::object>> run_command(ToolCall call);

// What several of them need.

/// "/sandboxes/<id>" of the argument `box`. invalid_argument: it is no id.
Result<std::string> box_of(const Arguments& arguments);
std::string text_in(const boost::json::value& object, std::string_view name);
/// Copies members that are there.
void copy_members(const boost::json::value& from, boost::json::object& to,
                  std::span<const std::pair<std::string_view, std::string_view>> names);

/// What a tool answers that does something with a box and has no more to tell.
boost::json::object done(const std::string& box, std::string_view what);
/// A page of one of the API's lists. `target` asks for it, up to and with `limit`; the argument
/// `cursor` says where it begins. The result has each entry as `told` tells it under `name`, and
/// where the next page begins.
Task<Result<boost::json::object>> list_page(
    ToolCall& call, std::string target, const char* name,
    boost::json::object (*told)(const boost::json::value& entry));

}  // namespace hako::mcp
