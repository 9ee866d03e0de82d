// Messages of the Model Context Protocol: JSON-RPC 2.0, one object each. Pure.
#pragma once

#include <boost/json/object.hpp>

#include <optional>
#include <string>
#include <string_view>

namespace hako::mcp {

/// Codes of errors of the protocol itself.
inline constexpr int kParseError = -32700;
inline constexpr int kInvalidRequest = -32600;
inline constexpr int kMethodNotFound = -32601;
inline constexpr int kInvalidParams = -32602;
inline constexpr int kInternalError = -32603;

inline constexpr size_t kLongestMessage = 1 << 20;  ///< bytes, of what a client sends
inline constexpr size_t kLongestId = 256;           ///< bytes, of an id or a progress token

struct Message {
  enum class Kind {
    request,       ///< wants an answer
    notification,  ///< wants none
    response,      ///< answers one of ours; we ask nothing, so it is passed over
  };
  Kind kind = Kind::notification;
  boost::json::value id;  ///< a string or an integer; null for notifications
  std::string method;
  boost::json::object params;  ///< empty where there were none
};

/// Why something is no message, as the answer to it says.
struct Malformed {
  int code = kInvalidRequest;
  std::string text;
  boost::json::value id;  ///< null where it could not be read
};

struct Parsed {
  std::optional<Message> message;
  Malformed malformed;  ///< where there is no message
};

/// Reads one message. Batches, which the protocol no longer has, are malformed.
Parsed parse_message(std::string_view text);

/// Whether it can be the id of a request, or a progress token: a string or an integer, bounded.
bool is_id(const boost::json::value& value);

boost::json::object result_message(const boost::json::value& id, boost::json::object result);
boost::json::object error_message(const boost::json::value& id, int code, std::string_view text);
boost::json::object notification_message(std::string_view method, boost::json::object params);

/// The versions of the protocol that are spoken here, the newest first.
inline constexpr std::string_view kVersions[] = {"2025-11-25", "2025-06-18"};
bool is_spoken(std::string_view version);
/// What to answer a client that asks for `version`: that one, or the newest.
std::string_view negotiate(std::string_view version);

/// A copy that fits into an error of a message: at most 64 characters, printable ASCII.
std::string quotable(std::string_view text);

}  // namespace hako::mcp
