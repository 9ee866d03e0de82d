#include "gate/access_call.h"

#include <csignal>

#include "base/encoding.h"
#include "wire/json_text.h"

namespace hako::gate {
namespace {

using Told = AccessCall::Told;

constexpr std::string_view kProcess = "/process.Process/";
constexpr std::string_view kFilesystem = "/filesystem.Filesystem/";
/// Of a command line so much is put together at most: a record holds less.
constexpr size_t kLongestLine = 64 << 10;

struct Service {
  std::string_view method, action;
  Told told = Told::with_answer;
};
constexpr Service kProcessCalls[] = {
    {"Start", "start"},        {"SendSignal", "signal"},
    {"Connect", "attach"},     {"List", "list"},
    {"SendInput", "input"},    {"StreamInput", "input", Told::with_message},
    {"CloseStdin", "input"},   {"Update", "resize", Told::never},
};
constexpr Service kFileCalls[] = {
    {"Stat", "stat"},
    {"ListDir", "list"},
    {"MakeDir", "mkdir"},
    {"Move", "move"},
    {"Remove", "remove"},
    {"WatchDir", "watch"},
    {"CreateWatcher", "watch"},
    {"GetWatcherEvents", "watch", Told::never},
    {"RemoveWatcher", "watch", Told::never},
};

template <size_t N>
AccessCall service_call(std::string_view kind, const Service (&known)[N], std::string_view name,
                        const wire::Method* method) {
  AccessCall call;
  call.kind = kind;
  for (const Service& one : known) {
    if (one.method != name) continue;
    call.action = one.action;
    call.told = one.told;
    call.has_message = one.told != Told::never;
    call.method = method;
  }
  return call;
}

/// The user in the request's Basic credentials, as the guest reads them.
std::string user_of(const http::RequestHead& head) {
  std::string_view header = head.header("Authorization");
  constexpr std::string_view kBasic = "Basic ";
  if (!header.starts_with(kBasic)) return {};
  auto credentials = base64_decode(header.substr(kBasic.size()));
  return credentials ? credentials->substr(0, credentials->find(':')) : std::string();
}

bool is_plain(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
         std::string_view("_-./:=,+@%").find(c) != std::string_view::npos;
}

void append_word(std::string& line, const std::string& word) {
  if (!line.empty()) line += ' ';
  if (!word.empty() && std::all_of(word.begin(), word.end(), is_plain)) {
    line += word;
    return;
  }
  line += '\'';
  for (char c : word) {
    if (c == '\'') {
      line += "'\\''";
    } else {
      line += c;
    }
  }
  line += '\'';
}

std::string text_of(const boost::json::object& message, std::string_view camel,
                    std::string_view snake = {}) {
  auto text = wire::string_member(message, camel, snake);
  return text ? text.value().value_or("") : std::string();
}

std::string name_of(const wire::ProcessSelector& process) {
  return process.pid ? "pid " + std::to_string(*process.pid) : "tag " + process.tag;
}

void unreadable(AccessRecord& record, const Error& error) {
  record.reason = "not readable: " + error.message();
}

void add_start(AccessRecord& record, const boost::json::object& message) {
  auto start = wire::parse_start(message);
  if (!start) return unreadable(record, start.error());
  record.what = command_line(start.value().process);
  record.detail = start.value().process.cwd.value_or("");
}

void add_process(AccessRecord& record, const AccessCall& call,
                 const boost::json::object& message) {
  if (call.action == "start") return add_start(record, message);
  if (call.action == "list") return;
  const boost::json::object* about = &message;
  // The first message of a stream of input names the process inside another object.
  if (call.told == Told::with_message) {
    auto start = wire::object_member(message, "start");
    if (start && start.value()) about = start.value();
  }
  auto process = wire::parse_selector(*about);
  if (!process) return unreadable(record, process.error());
  record.what = name_of(process.value());
  if (call.action != "signal") return;
  auto signal = wire::parse_signal(message);
  if (!signal) return unreadable(record, signal.error());
  record.detail = signal.value() == SIGKILL ? "SIGKILL" : "SIGTERM";
}

void add_composition(AccessRecord& record, const boost::json::object& message) {
  record.user = text_of(message, "username");
  record.what = text_of(message, "destination");
  auto* sources = wire::find_member(message, "source_paths");
  if (!sources || !sources->is_array()) return;
  for (const auto& source : sources->get_array()) {
    if (!source.is_string() || record.detail.size() > kLongestLine) break;
    append_word(record.detail, std::string(source.get_string()));
  }
}

}  // namespace

std::string command_line(const wire::ProcessConfig& process) {
  std::string line;
  append_word(line, process.cmd);
  for (const auto& argument : process.args) {
    if (line.size() > kLongestLine) break;
    append_word(line, argument);
  }
  return line;
}

AccessCall call_of(const http::RequestHead& head) {
  std::string_view path = head.path();
  bool get = head.method == http::Verb::get || head.method == http::Verb::head;
  bool post = head.method == http::Verb::post;
  AccessCall call;
  if (path == "/health" || (path == "/metrics" && get)) {
    call.action = "look";
    call.told = Told::never;
  } else if (path == "/envs") {
    call.action = "environment";
  } else if (path == "/files" && (get || post)) {
    call.kind = "file";
    call.action = post ? "write" : "read";
    call.told = Told::at_end;
  } else if (path == "/files/compose" && post) {
    call.kind = "file";
    call.action = "write";
    call.has_message = true;
  } else if (path.starts_with(kProcess) && post) {
    std::string_view name = path.substr(kProcess.size());
    return service_call("command", kProcessCalls, name, wire::find_process_method(name));
  } else if (path.starts_with(kFilesystem) && post) {
    std::string_view name = path.substr(kFilesystem.size());
    return service_call("file", kFileCalls, name, wire::find_filesystem_method(name));
  }
  return call;
}

AccessRecord record_of(const http::RequestHead& head, const AccessCall& call) {
  AccessRecord record;
  record.kind = call.kind;
  record.action = call.action;
  record.verdict = "allowed";
  if (head.path() == "/files") {
    record.user = head.parameter("username").value_or("");
    record.what = head.parameter("path").value_or("");
    return record;
  }
  record.user = user_of(head);
  if (!call.has_message) record.what = head.path();
  return record;
}

void add_message(AccessRecord& record, const AccessCall& call,
                 const boost::json::object& message) {
  if (call.kind == "command") return add_process(record, call, message);
  if (!call.method) return add_composition(record, message);
  record.what = text_of(message, call.action == "move" ? "source" : "path");
  if (call.action == "move") record.detail = text_of(message, "destination");
}

}  // namespace hako::gate
