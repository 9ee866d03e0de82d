// The messages of process.Process, as the guest reads and writes them and as clients do.
#pragma once

#include <boost/json/object.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace hako::wire {

using Environment = std::vector<std::pair<std::string, std::string>>;

struct ProcessConfig {
  std::string cmd;
  std::vector<std::string> args;
  Environment envs;
  std::optional<std::string> cwd;
};

struct PtySize {
  uint16_t cols = 80;
  uint16_t rows = 24;
};

struct StartRequest {
  ProcessConfig process;
  std::optional<PtySize> pty;
  std::optional<std::string> tag;
  std::optional<bool> has_stdin;  ///< absent means yes
};

/// A process by pid or by tag; exactly one is set.
struct ProcessSelector {
  std::optional<uint32_t> pid;
  std::string tag;
};

/// Bytes for a process, with where they go.
struct ProcessInput {
  bool to_pty = false;
  std::string bytes;
};

/// Requests from JSON. Errors: invalid_argument, naming the field. Strings with NUL bytes, names of
/// variables with '=' and more than `kMaxArguments` arguments or variables are refused.
inline constexpr size_t kMaxArguments = 65536;
Result<Environment> parse_environment(const boost::json::object& variables);
Result<StartRequest> parse_start(const boost::json::object& request);
Result<ProcessSelector> parse_selector(const boost::json::object& request);
Result<ProcessInput> parse_input(const boost::json::object& request);
/// The `pty.size` of a request; nothing where there is no `pty`.
Result<std::optional<PtySize>> parse_pty(const boost::json::object& request);
/// SIGKILL or SIGTERM as a number.
Result<int> parse_signal(const boost::json::object& request);

/// Requests as a client writes them.
boost::json::object to_json(const ProcessConfig& config);
boost::json::object to_json(const StartRequest& request);
boost::json::object to_json(const ProcessSelector& selector);
/// {"process":...,"input":{"stdin":...}} as text, as input may be large.
std::string input_request(const ProcessSelector& selector, bool to_pty, std::string_view bytes);

struct ProcessEnd {
  int exit_code = 0;   ///< -1 when killed by a signal
  bool exited = true;  ///< false when killed by a signal
  std::string status;  ///< "exit status 1", "signal: killed"
  std::string error;   ///< empty when the exit code is 0
};

/// How a wait status (exit code, or signal if not 0) is told.
ProcessEnd describe_end(int exit_code, int signal);

enum class OutputStream { out, err, pty };

/// Each appends one whole frame with that event.
void append_start_event(std::string& out, uint32_t pid);
void append_data_event(std::string& out, OutputStream stream, std::string_view bytes);
void append_end_event(std::string& out, const ProcessEnd& end);
void append_keepalive_event(std::string& out);

struct ProcessEvent {
  enum class Kind { start, data, end, keepalive, unknown };
  Kind kind = Kind::unknown;
  uint32_t pid = 0;
  OutputStream stream = OutputStream::out;
  std::string bytes;
  ProcessEnd end;
};

/// The event in a frame's payload. corrupted when it is not one; unknown kinds are no error.
Result<ProcessEvent> parse_process_event(std::string_view payload);

}  // namespace hako::wire
