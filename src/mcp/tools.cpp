// The list of tools: what each is called, takes and gives, in words for models.
#include <boost/json/parse.hpp>

#include "base/encoding.h"
#include "mcp/tool.h"

namespace hako::mcp {
namespace json = boost::json;

namespace {

using Kind = Parameter::Kind;

constexpr int64_t kLongestContent = 1 << 20;
constexpr int64_t kMonth = 30 * 24 * 3600;

constexpr Parameter kBox{.name = "box", .description = "The box's id.", .required = true, .most = 64};
constexpr Parameter kUser{.name = "user",
                          .description = "User in the box; its usual one if not given.",
                          .most = 64};

constexpr std::string_view kLabels[] = {"public", "internal", "confidential", "secret"};
constexpr std::string_view kLevels[] = {"none", "allow", "internet"};
constexpr std::string_view kEncodings[] = {"utf-8", "base64"};

constexpr Parameter kCreate[] = {
    {.name = "template",
     .description = "Name or id of the template or snapshot it is made of; the usual one if not "
                    "given."},
    {.name = "ttl_seconds",
     .kind = Kind::integer,
     .description = "It ends after so many seconds, unless box_set_timeout says otherwise.",
     .least = 1,
     .most = kMonth,
     .usual = 1800},
    {.name = "memory_mib",
     .kind = Kind::integer,
     .description = "Memory; the template's if not given.",
     .least = 1,
     .most = 1 << 20},
    {.name = "cpus",
     .kind = Kind::integer,
     .description = "Virtual CPUs; the template's if not given.",
     .least = 1,
     .most = 256},
    {.name = "env",
     .kind = Kind::text_map,
     .description = "Environment variables of everything that runs in it."},
    {.name = "label",
     .description = "How confidential what goes into it will be. The higher, the less may leave it.",
     .words = kLabels},
    {.name = "egress",
     .description = "What it may reach: nothing, what `allow` lists, or the internet. More than "
                    "policy allows is refused.",
     .words = kLevels},
    {.name = "allow",
     .kind = Kind::texts,
     .description = "Hosts it may reach, such as \"pypi.org\", \"*.example.com:443\"."},
    {.name = "deny", .kind = Kind::texts, .description = "Hosts it may not reach in any case."},
    {.name = "metadata", .kind = Kind::text_map, .description = "Notes that are kept with it."},
};

constexpr Parameter kList[] = {
    {.name = "state",
     .description = "Only boxes in this state, \"running\" or \"paused\"; both if not given."},
    {.name = "limit", .kind = Kind::integer, .description = "At most so many.", .least = 1,
     .most = 100, .usual = 50},
    {.name = "cursor", .description = "`next_cursor` of the answer before."},
};

constexpr Parameter kOnlyBox[] = {kBox};

constexpr Parameter kTimeout[] = {
    kBox,
    {.name = "ttl_seconds", .kind = Kind::integer, .description = "Seconds from now.",
     .required = true, .least = 1, .most = kMonth},
};

constexpr Parameter kRun[] = {
    kBox,
    {.name = "command",
     .description = "A command line for bash, such as \"cd project && make test\".",
     .required = true,
     .most = 128 << 10},
    {.name = "cwd", .description = "Working directory; the user's home if not given."},
    kUser,
    {.name = "env", .kind = Kind::text_map, .description = "Environment variables."},
    {.name = "stdin", .description = "What the command reads from standard input; nothing if not "
                                     "given.",
     .most = kLongestContent},
    {.name = "timeout_seconds", .kind = Kind::integer,
     .description = "Then the command and what it started are killed.", .least = 1, .most = 86400,
     .usual = 120},
    {.name = "max_output_bytes", .kind = Kind::integer,
     .description = "So much of standard output, and of standard error, is shown: beginning and "
                    "end. What is longer is kept in a file in the box, to be read with "
                    "box_read_file.",
     .least = 1024, .most = 64 << 10, .usual = 16 << 10},
    {.name = "background", .kind = Kind::boolean,
     .description = "Do not wait for its end: for servers. Its output goes to `output_file`; end it "
                    "with: kill -- -PID"},
};

constexpr Parameter kRead[] = {
    kBox,
    {.name = "path", .description = "Absolute, or relative to the user's home.", .required = true},
    {.name = "offset", .kind = Kind::integer, .description = "First byte.", .least = 0,
     .most = int64_t{1} << 50, .usual = 0},
    {.name = "limit", .kind = Kind::integer,
     .description = "At most so many bytes; `next_offset` says where to read on.", .least = 1,
     .most = 256 << 10, .usual = 32 << 10},
    {.name = "encoding", .description = "How the content is written. If not given: utf-8 where it "
                                        "is text, base64 where it is not.",
     .words = kEncodings},
    kUser,
};

constexpr Parameter kWrite[] = {
    kBox,
    {.name = "path", .description = "Absolute, or relative to the user's home. Folders that are "
                                    "missing are made.",
     .required = true},
    {.name = "content", .description = "The whole content.", .required = true,
     .most = kLongestContent},
    {.name = "encoding", .description = "How `content` is written; utf-8 if not given.",
     .words = kEncodings},
    kUser,
};

constexpr Parameter kEdit[] = {
    kBox,
    {.name = "path", .description = "Absolute, or relative to the user's home.", .required = true},
    {.name = "old_text", .description = "What to replace, letter by letter, with enough around it "
                                        "that it is there once.",
     .required = true, .most = kLongestContent},
    {.name = "new_text", .description = "What to put there.", .required = true,
     .most = kLongestContent},
    {.name = "all", .kind = Kind::boolean, .description = "Replace it wherever it is."},
    kUser,
};

constexpr Parameter kListFiles[] = {
    kBox,
    {.name = "path", .description = "A folder; the user's home if not given."},
    {.name = "depth", .kind = Kind::integer, .description = "How many levels below it.", .least = 1,
     .most = 16, .usual = 1},
    {.name = "offset", .kind = Kind::integer, .description = "`next_offset` of the answer before.",
     .least = 0, .most = 1 << 30, .usual = 0},
    kUser,
};

constexpr Parameter kPause[] = {
    kBox,
    {.name = "files_only", .kind = Kind::boolean,
     .description = "Keep its files and not its memory: it boots when it is resumed."},
};

constexpr Parameter kResume[] = {
    kBox,
    {.name = "ttl_seconds", .kind = Kind::integer, .description = "It ends so many seconds from "
                                                                  "now.",
     .least = 1, .most = kMonth, .usual = 1800},
};

constexpr Parameter kFork[] = {
    kBox,
    {.name = "count", .kind = Kind::integer, .description = "How many.", .least = 1, .most = 16,
     .usual = 1},
    {.name = "ttl_seconds", .kind = Kind::integer, .description = "Each ends so many seconds from "
                                                                  "now.",
     .least = 1, .most = kMonth, .usual = 1800},
};

constexpr Parameter kSnapshot[] = {
    kBox,
    {.name = "name", .description = "A name for it, as NAME or NAME:TAG; none if not given."},
};

constexpr Parameter kSnapshots[] = {
    {.name = "box", .description = "Only those taken of this box.", .most = 64},
    {.name = "limit", .kind = Kind::integer, .description = "At most so many.", .least = 1,
     .most = 100, .usual = 50},
    {.name = "cursor", .description = "`next_cursor` of the answer before."},
};

constexpr Parameter kRollback[] = {
    kBox,
    {.name = "snapshot", .description = "Id or name of a snapshot that was taken of this box.",
     .required = true},
};

constexpr Parameter kExpose[] = {
    kBox,
    {.name = "port", .kind = Kind::integer, .description = "The port that a program in the box "
                                                           "listens on.",
     .required = true, .least = 1, .most = 65535},
};

// What comes back: the members, and in brackets those that are always there.
constexpr std::string_view kBoxOutput = R"({
  "box": {"type": "string", "description": "Its id."},
  "template": {"type": "string"},
  "state": {"type": "string", "enum": ["running", "paused"]},
  "isolation": {"type": "string", "enum": ["hardware", "emulated"]},
  "started_at": {"type": "string"}, "ends_at": {"type": "string"},
  "cpus": {"type": "integer"}, "memory_mib": {"type": "integer"},
  "label": {"type": "string"}, "metadata": {"type": "object"}, "egress": {"type": "object"}
} ["box"])";
constexpr std::string_view kBoxesOutput = R"({
  "boxes": {"type": "array", "items": {"type": "object"}},
  "next_cursor": {"type": "string", "description": "There are more: ask again with it."}
} ["boxes"])";
constexpr std::string_view kDoneOutput = R"({
  "box": {"type": "string"}, "done": {"type": "string", "description": "What it is now."}
} ["box", "done"])";
constexpr std::string_view kRunOutput = R"({
  "exit_code": {"type": "integer", "description": "-1: it did not come to its end; ended_by says why."},
  "ended_by": {"type": "string"},
  "timed_out": {"type": "boolean"},
  "stdout": {"type": "string"}, "stderr": {"type": "string"},
  "stdout_bytes": {"type": "integer", "description": "How much it wrote in all."},
  "stderr_bytes": {"type": "integer"},
  "truncated": {"type": "boolean", "description": "Not all of it is shown here."},
  "stdout_end": {"type": "string", "description": "The end of what was too long."},
  "stderr_end": {"type": "string"},
  "stdout_file": {"type": "string", "description": "All of it, in the box: read on there, from byte stdout_next_offset."},
  "stderr_file": {"type": "string"},
  "stdout_next_offset": {"type": "integer"}, "stderr_next_offset": {"type": "integer"},
  "note": {"type": "string"},
  "pid": {"type": "integer", "description": "Of one in the background."},
  "output_file": {"type": "string", "description": "Of one in the background."}
} [])";
constexpr std::string_view kReadOutput = R"({
  "content": {"type": "string"}, "encoding": {"type": "string", "enum": ["utf-8", "base64"]},
  "offset": {"type": "integer"}, "bytes": {"type": "integer", "description": "How many of the file these are."},
  "size": {"type": "integer", "description": "Of the whole file, where it is known."},
  "next_offset": {"type": "integer", "description": "There is more: read on from here."}
} ["content", "encoding", "offset", "bytes"])";
constexpr std::string_view kWriteOutput = R"({
  "path": {"type": "string"}, "bytes": {"type": "integer"}
} ["path", "bytes"])";
constexpr std::string_view kEditOutput = R"({
  "path": {"type": "string"}, "replaced": {"type": "integer", "description": "In how many places."},
  "bytes": {"type": "integer"}
} ["path", "replaced", "bytes"])";
constexpr std::string_view kFilesOutput = R"({
  "path": {"type": "string"},
  "entries": {"type": "array", "items": {"type": "object", "properties": {
    "path": {"type": "string"}, "type": {"type": "string"}, "size": {"type": "integer"},
    "mode": {"type": "string"}, "target": {"type": "string"}}, "required": ["path", "type"]}},
  "total": {"type": "integer"}, "next_offset": {"type": "integer"}
} ["path", "entries", "total"])";
constexpr std::string_view kForkOutput = R"({
  "boxes": {"type": "array", "items": {"type": "string"}},
  "problems": {"type": "array", "items": {"type": "string"}, "description": "Why one could not be made."}
} ["boxes"])";
constexpr std::string_view kSnapshotOutput = R"({
  "snapshot": {"type": "string", "description": "Stands wherever a template can."},
  "names": {"type": "array", "items": {"type": "string"}}
} ["snapshot"])";
constexpr std::string_view kSnapshotsOutput = R"({
  "snapshots": {"type": "array", "items": {"type": "object"}}, "next_cursor": {"type": "string"}
} ["snapshots"])";
constexpr std::string_view kExposeOutput = R"({
  "url": {"type": "string", "description": "Where others reach it."},
  "host": {"type": "string", "description": "The name that Host must say."},
  "gate": {"type": "string", "description": "Where to connect on the machine itself, with that Host."},
  "headers": {"type": "object", "description": "What requests must carry; empty if the port is open to whoever knows its name."}
} ["url", "host", "headers"])";

constexpr Hints kLooks{.read_only = true, .idempotent = true};
constexpr Hints kAdds{};
constexpr Hints kSets{.idempotent = true};
constexpr Hints kDestroys{.destructive = true, .idempotent = true};

constexpr Tool kTools[] = {
    {"box_create", "Create a box",
     "Makes a box: a virtual machine of its own, with Linux, in which commands can do no harm to "
     "anything else. Returns its id, which the other tools take.",
     kAdds, kCreate, kBoxOutput, create_box},
    {"box_list", "List boxes", "Lists the boxes that there are, the newest first.", kLooks, kList,
     kBoxesOutput, list_boxes},
    {"box_info", "Show a box", "Shows one box: state, size, end, label, and what it may reach.",
     kLooks, kOnlyBox, kBoxOutput, box_info},
    {"box_run", "Run a command",
     "Runs a command line in a box and returns its exit code and output. Long output is cut in the "
     "middle and kept in a file in the box.",
     Hints{.destructive = true, .open_world = true}, kRun, kRunOutput, run_command},
    {"box_read_file", "Read a file",
     "Reads a file in a box, or a part of it. Long files come in parts: go on at `next_offset`.",
     kLooks, kRead, kReadOutput, read_file},
    {"box_write_file", "Write a file",
     "Writes a file in a box; what was in it before is lost. Needs the whole content.", kDestroys,
     kWrite, kWriteOutput, write_file},
    {"box_edit_file", "Edit a file",
     "Replaces a piece of text in a file in a box. The piece must be there exactly once, or `all` "
     "be set.",
     Hints{.destructive = true}, kEdit, kEditOutput, edit_file},
    {"box_list_files", "List files", "Lists a folder in a box, and folders below it.", kLooks,
     kListFiles, kFilesOutput, list_files},
    {"box_kill", "Destroy a box", "Ends a box, with everything in it. One that has ended is fine.",
     kDestroys, kOnlyBox, kDoneOutput, kill_box},
    {"box_set_timeout", "Set the end of a box", "Says how long a box lives from now.", kSets,
     kTimeout, kDoneOutput, set_box_timeout},
    {"box_pause", "Pause a box",
     "Keeps a box on disk, with its memory and everything that runs, without using memory or CPU.",
     kSets, kPause, kDoneOutput, pause_box},
    {"box_resume", "Resume a box", "Lets a paused box go on where it was.", kSets, kResume,
     kBoxOutput, resume_box},
    {"box_fork", "Fork a box",
     "Makes boxes that go on from where this one is: files, memory and everything that runs. The "
     "box itself goes on too.",
     kAdds, kFork, kForkOutput, fork_box},
    {"box_snapshot", "Take a snapshot",
     "Keeps the state of a box. Boxes can be made of it, and the box can be taken back to it.",
     kAdds, kSnapshot, kSnapshotOutput, take_snapshot},
    {"snapshot_list", "List snapshots", "Lists snapshots, the newest first.", kLooks, kSnapshots,
     kSnapshotsOutput, list_snapshots},
    {"box_rollback", "Take a box back",
     "Takes a box back to a snapshot of its own. What has happened in it since is lost.", kDestroys,
     kRollback, kDoneOutput, roll_back},
    {"box_expose_port", "Get the address of a port",
     "Says under which address a service that listens in a box can be reached from outside.",
     kLooks, kExpose, kExposeOutput, expose_port},
};

/// "{members} [required]" as a schema.
json::object output_schema(std::string_view text) {
  size_t bracket = text.rfind('[');
  json::object schema;
  schema["type"] = "object";
  schema["properties"] = json::parse({text.data(), bracket});
  schema["required"] = json::parse({text.data() + bracket, text.size() - bracket});
  return schema;
}

}  // namespace

std::span<const Tool> tools() {
  return kTools;
}

const Tool* find_tool(std::string_view name) {
  for (const Tool& tool : kTools)
    if (tool.name == name) return &tool;
  return nullptr;
}

json::object describe(const Tool& tool) {
  auto text = [](std::string_view part) { return json::string_view(part.data(), part.size()); };
  json::object hints;
  hints["title"] = text(tool.title);
  hints["readOnlyHint"] = tool.hints.read_only;
  hints["destructiveHint"] = tool.hints.destructive;
  hints["idempotentHint"] = tool.hints.idempotent;
  hints["openWorldHint"] = tool.hints.open_world;
  json::object described;
  described["name"] = text(tool.name);
  described["title"] = text(tool.title);
  described["description"] = text(tool.description);
  described["inputSchema"] = input_schema(tool.parameters);
  described["outputSchema"] = output_schema(tool.output);
  described["annotations"] = std::move(hints);
  return described;
}

Result<std::string> box_of(const Arguments& arguments) {
  std::string box = arguments.text("box");
  if (is_box_id(box)) return box;
  return Error(ErrorCode::invalid_argument, "'box' must be the id of a box: box_list lists them");
}

std::string text_in(const json::value& object, std::string_view name) {
  const json::object* members = object.if_object();
  const json::value* member = members ? members->if_contains({name.data(), name.size()}) : nullptr;
  const json::string* text = member ? member->if_string() : nullptr;
  return text ? std::string(text->data(), text->size()) : std::string();
}

void copy_members(const json::value& from, json::object& to,
                  std::span<const std::pair<std::string_view, std::string_view>> names) {
  const json::object* members = from.if_object();
  if (!members) return;
  for (const auto& [theirs, ours] : names)
    if (const json::value* value = members->if_contains({theirs.data(), theirs.size()}))
      if (!value->is_null()) to[{ours.data(), ours.size()}] = *value;
}

json::object done(const std::string& box, std::string_view what) {
  json::object answer;
  answer["box"] = box;
  answer["done"] = json::string_view(what.data(), what.size());
  return answer;
}

Task<Result<json::object>> list_page(ToolCall& call, std::string target, const char* name,
                                     json::object (*told)(const json::value& entry)) {
  if (call.arguments.has("cursor"))
    target += "&nextToken=" + percent_encode(call.arguments.text("cursor"));
  http::Request request = call.api.prepare(http::Verb::get, target);
  HAKO_CO_TRY(auto response, co_await call.api.exchange(std::move(request), kCallTime));
  if (response.status != 200) co_return error_of(response.status, response.body);
  json::error_code failed;
  json::value answer = json::parse(response.body, failed);
  if (failed || !answer.is_array())
    co_return Error(ErrorCode::corrupted, std::string("the API's answer is no list of ") + name);
  json::array entries;
  for (const json::value& entry : answer.get_array()) entries.emplace_back(told(entry));
  json::object listed;
  listed[name] = std::move(entries);
  auto next = response.fields.find("X-Next-Token");
  if (next != response.fields.end() && !next->value().empty())
    listed["next_cursor"] = json::string_view(next->value().data(), next->value().size());
  co_return listed;
}

}  // namespace hako::mcp
