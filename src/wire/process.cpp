#include "wire/process.h"

#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>

#include <csignal>
#include <cstring>

#include "base/encoding.h"
#include "wire/connect.h"
#include "wire/json_text.h"

namespace hako::wire {
namespace json = boost::json;
namespace {

Error bad(std::string message) {
  return Error(ErrorCode::invalid_argument, std::move(message));
}

bool has_nul(std::string_view text) {
  return text.find('\0') != std::string_view::npos;
}

Result<std::vector<std::string>> parse_arguments(const json::object& process) {
  std::vector<std::string> arguments;
  auto* value = find_member(process, "args");
  if (!value) return arguments;
  auto* array = value->if_array();
  if (!array) return bad("field 'args' must be a list of strings");
  if (array->size() > kMaxArguments) return bad("too many arguments");
  arguments.reserve(array->size());
  for (const auto& element : *array) {
    auto* text = element.if_string();
    if (!text || has_nul(*text)) return bad("field 'args' must hold strings without NUL bytes");
    arguments.emplace_back(text->data(), text->size());
  }
  return arguments;
}

Result<ProcessConfig> parse_config(const json::object& request) {
  HAKO_TRY(auto process, object_member(request, "process"));
  if (!process) return bad("field 'process' is required");
  ProcessConfig config;
  HAKO_TRY(auto cmd, string_member(*process, "cmd"));
  if (!cmd || cmd->empty()) return bad("field 'process.cmd' is required");
  if (has_nul(*cmd)) return bad("field 'process.cmd' holds a NUL byte");
  config.cmd = std::move(*cmd);
  HAKO_TRY(auto arguments, parse_arguments(*process));
  config.args = std::move(arguments);
  HAKO_TRY(auto envs, object_member(*process, "envs"));
  if (envs) {
    HAKO_TRY(auto variables, parse_environment(*envs));
    config.envs = std::move(variables);
  }
  HAKO_TRY(auto cwd, string_member(*process, "cwd"));
  if (cwd && has_nul(*cwd)) return bad("field 'process.cwd' holds a NUL byte");
  config.cwd = std::move(cwd);
  return config;
}

std::string_view name_of(OutputStream stream) {
  switch (stream) {
    case OutputStream::out:
      return "stdout";
    case OutputStream::err:
      return "stderr";
    case OutputStream::pty:
      return "pty";
  }
  return "stdout";
}

ProcessEnd parse_end(const json::object& object) {
  ProcessEnd end;
  if (auto code = int_member(object, "exitCode", "exit_code"); code && code.value())
    end.exit_code = static_cast<int>(*code.value());
  auto exited = bool_member(object, "exited");
  end.exited = exited && exited.value().value_or(false);
  if (auto text = string_member(object, "status"); text && text.value()) end.status = *text.value();
  if (auto text = string_member(object, "error"); text && text.value()) end.error = *text.value();
  return end;
}

}  // namespace

Result<Environment> parse_environment(const json::object& variables) {
  if (variables.size() > kMaxArguments) return bad("too many environment variables");
  Environment environment;
  environment.reserve(variables.size());
  for (const auto& [name, value] : variables) {
    if (name.empty() || has_nul(name) || name.find('=') != std::string_view::npos)
      return bad("an environment variable's name is empty or holds '=' or NUL");
    auto* text = value.if_string();
    if (!text || has_nul(*text))
      return bad("the value of environment variable '" + std::string(name) +
                 "' must be a string without NUL bytes");
    environment.emplace_back(std::string(name), std::string(text->data(), text->size()));
  }
  return environment;
}

Result<std::optional<PtySize>> parse_pty(const json::object& request) {
  std::optional<PtySize> parsed;
  HAKO_TRY(auto pty, object_member(request, "pty"));
  if (!pty) return parsed;
  parsed.emplace();
  HAKO_TRY(auto size, object_member(*pty, "size"));
  if (!size) return parsed;
  HAKO_TRY(auto cols, int_member(*size, "cols"));
  HAKO_TRY(auto rows, int_member(*size, "rows"));
  for (auto* dimension : {&cols, &rows})
    if (*dimension && (**dimension < 0 || **dimension > 65535))
      return bad("a terminal is 0 to 65535 cells wide and high");
  parsed->cols = static_cast<uint16_t>(cols.value_or(0));
  parsed->rows = static_cast<uint16_t>(rows.value_or(0));
  return parsed;
}

Result<StartRequest> parse_start(const json::object& request) {
  StartRequest start;
  HAKO_TRY(auto config, parse_config(request));
  start.process = std::move(config);
  HAKO_TRY(auto pty, parse_pty(request));
  start.pty = pty;
  HAKO_TRY(auto tag, string_member(request, "tag"));
  if (tag && tag->size() > 1024) return bad("field 'tag' is longer than 1024 bytes");
  start.tag = std::move(tag);
  HAKO_TRY(auto has_stdin, bool_member(request, "stdin"));
  start.has_stdin = has_stdin;
  return start;
}

Result<ProcessSelector> parse_selector(const json::object& request) {
  HAKO_TRY(auto process, object_member(request, "process"));
  if (!process) return bad("field 'process' is required");
  ProcessSelector selector;
  HAKO_TRY(auto pid, int_member(*process, "pid"));
  HAKO_TRY(auto tag, string_member(*process, "tag"));
  if (pid) {
    if (*pid < 0 || *pid > UINT32_MAX) return bad("field 'process.pid' is out of range");
    selector.pid = static_cast<uint32_t>(*pid);
  } else if (tag) {
    selector.tag = std::move(*tag);
  } else {
    return bad("field 'process' needs a pid or a tag");
  }
  return selector;
}

Result<ProcessInput> parse_input(const json::object& request) {
  HAKO_TRY(auto input, object_member(request, "input"));
  if (!input) return bad("field 'input' is required");
  auto* value = find_member(*input, "stdin");
  ProcessInput parsed;
  if (!value) {
    value = find_member(*input, "pty");
    parsed.to_pty = true;
  }
  if (!value || !value->is_string()) return bad("field 'input' needs 'stdin' or 'pty' as base64");
  auto bytes = base64_decode(value->get_string());
  if (!bytes) return bad("field 'input' is not base64");
  parsed.bytes = std::move(*bytes);
  return parsed;
}

Result<int> parse_signal(const json::object& request) {
  auto* value = find_member(request, "signal");
  if (value && value->is_string()) {
    std::string_view name = value->get_string();
    if (name == "SIGNAL_SIGKILL") return SIGKILL;
    if (name == "SIGNAL_SIGTERM") return SIGTERM;
  }
  if (value && value->is_int64()) {
    if (value->get_int64() == SIGKILL) return SIGKILL;
    if (value->get_int64() == SIGTERM) return SIGTERM;
  }
  return bad("field 'signal' must be SIGNAL_SIGKILL or SIGNAL_SIGTERM");
}

json::object to_json(const ProcessConfig& config) {
  json::array args;
  for (const auto& argument : config.args) args.emplace_back(argument);
  json::object envs;
  for (const auto& [name, value] : config.envs) envs[name] = value;
  json::object object{{"cmd", config.cmd}, {"args", std::move(args)}, {"envs", std::move(envs)}};
  if (config.cwd) object["cwd"] = *config.cwd;
  return object;
}

json::object to_json(const StartRequest& request) {
  json::object object{{"process", to_json(request.process)}};
  if (request.pty) {
    json::object size{{"cols", request.pty->cols}, {"rows", request.pty->rows}};
    object["pty"] = json::object{{"size", std::move(size)}};
  }
  if (request.tag) object["tag"] = *request.tag;
  if (request.has_stdin) object["stdin"] = *request.has_stdin;
  return object;
}

json::object to_json(const ProcessSelector& selector) {
  if (selector.pid) return {{"pid", *selector.pid}};
  return {{"tag", selector.tag}};
}

std::string input_request(const ProcessSelector& selector, bool to_pty, std::string_view bytes) {
  std::string text = "{\"process\":";
  text += json::serialize(to_json(selector));
  text += to_pty ? ",\"input\":{\"pty\":\"" : ",\"input\":{\"stdin\":\"";
  base64_append(text, bytes);
  text += "\"}}";
  return text;
}

ProcessEnd describe_end(int exit_code, int signal) {
  ProcessEnd end;
  if (signal != 0) {
    end.exit_code = -1;
    end.exited = false;
    // Clients of the contract compare these words, which differ from strsignal's.
    std::string name = signal == SIGKILL   ? "killed"
                       : signal == SIGTERM ? "terminated"
                       : signal == SIGINT  ? "interrupt"
                       : signal == SIGHUP  ? "hangup"
                       : signal == SIGABRT ? "aborted"
                                           : std::string(::strsignal(signal));
    for (char& c : name)
      if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    end.status = "signal: " + name;
    end.error = end.status;
    return end;
  }
  end.exit_code = exit_code;
  end.status = "exit status " + std::to_string(exit_code);
  if (exit_code != 0) end.error = end.status;
  return end;
}

void append_start_event(std::string& out, uint32_t pid) {
  size_t start = begin_frame(out);
  out += "{\"event\":{\"start\":{\"pid\":";
  append_json_number(out, pid);
  out += "}}}";
  end_frame(out, start);
}

void append_data_event(std::string& out, OutputStream stream, std::string_view bytes) {
  size_t start = begin_frame(out);
  out += "{\"event\":{\"data\":{\"";
  out += name_of(stream);
  out += "\":\"";
  base64_append(out, bytes);
  out += "\"}}}";
  end_frame(out, start);
}

void append_end_event(std::string& out, const ProcessEnd& end) {
  size_t start = begin_frame(out);
  out += "{\"event\":{\"end\":{\"exitCode\":";
  append_json_number(out, end.exit_code);
  out += end.exited ? ",\"exited\":true,\"status\":" : ",\"exited\":false,\"status\":";
  append_json_string(out, end.status);
  if (!end.error.empty()) {
    out += ",\"error\":";
    append_json_string(out, end.error);
  }
  out += "}}}";
  end_frame(out, start);
}

void append_keepalive_event(std::string& out) {
  size_t start = begin_frame(out);
  out += "{\"event\":{\"keepalive\":{}}}";
  end_frame(out, start);
}

Result<ProcessEvent> parse_process_event(std::string_view payload) {
  auto malformed = [] { return Error(ErrorCode::corrupted, "malformed process event"); };
  auto message = parse_object(payload);
  if (!message) return malformed();
  auto* wrapped = find_member(message.value(), "event");
  if (!wrapped || !wrapped->is_object()) return malformed();
  const json::object& event = wrapped->get_object();
  ProcessEvent parsed;
  auto part = [&](const char* name) -> const json::object* {
    auto* value = find_member(event, name);
    return value ? value->if_object() : nullptr;
  };
  if (auto* start = part("start")) {
    parsed.kind = ProcessEvent::Kind::start;
    auto pid = int_member(*start, "pid");
    if (!pid || pid.value().value_or(0) < 0 || pid.value().value_or(0) > UINT32_MAX)
      return malformed();
    parsed.pid = static_cast<uint32_t>(pid.value().value_or(0));
  } else if (auto* data = part("data")) {
    parsed.kind = ProcessEvent::Kind::data;
    for (OutputStream stream : {OutputStream::out, OutputStream::err, OutputStream::pty}) {
      auto* text = find_member(*data, name_of(stream));
      if (!text) continue;
      if (!text->is_string()) return malformed();
      auto bytes = base64_decode(text->get_string());
      if (!bytes) return malformed();
      parsed.stream = stream;
      parsed.bytes = std::move(*bytes);
    }
  } else if (auto* end = part("end")) {
    parsed.kind = ProcessEvent::Kind::end;
    parsed.end = parse_end(*end);
  } else if (part("keepalive")) {
    parsed.kind = ProcessEvent::Kind::keepalive;
  }
  return parsed;
}

}  // namespace hako::wire
