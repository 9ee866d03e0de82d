// QEMU's control protocol (QMP) without I/O: bytes in, messages out.
#pragma once

#include <boost/json.hpp>

#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "base/result.h"

namespace hako::engine::qmp {

/// The first message on every connection.
struct Greeting {
  std::string version;  ///< "7.2.22"
  std::string package;  ///< of the distribution, may be empty
};

/// A command went well.
struct Return {
  std::optional<int64_t> id;
  boost::json::value value;
};

/// A command was refused. Without an id QEMU could not parse what it was sent.
struct Failure {
  std::optional<int64_t> id;
  std::string error_class;  ///< "GenericError", "CommandNotFound", ...
  std::string description;
};

struct Event {
  std::string name;  ///< "STOP", "RESUME", "MIGRATION", ...
  boost::json::object data;
};

using Message = std::variant<Greeting, Return, Failure, Event>;

inline constexpr size_t kMaxLine = 1 << 20;

/// Interprets one line. Errors: corrupted (not JSON, or none of the four kinds of message).
Result<Message> parse_message(std::string_view line);

/// Cuts a byte stream into messages. After an error the stream cannot be followed any more: every
/// later call returns that error again. Holds at most kMaxLine bytes plus what one feed() brings.
class Parser {
 public:
  void feed(std::string_view bytes);
  /// The next complete message, or nothing until more bytes come.
  /// Errors: corrupted, too_large (a line over kMaxLine).
  Result<std::optional<Message>> next();

 private:
  std::string buffer_;
  size_t start_ = 0;    ///< of the current line
  size_t scanned_ = 0;  ///< no line end before this
  std::optional<Error> broken_;
};

/// One command, with its line end.
std::string format_command(std::string_view name, const boost::json::object& arguments, int64_t id);

}  // namespace hako::engine::qmp
