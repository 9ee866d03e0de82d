// Connect RPC on the server side: unary calls and the frames of streaming ones.
#pragma once

#include <boost/json/object.hpp>

#include <optional>
#include <string>

#include "guest/context.h"
#include "wire/services.h"

namespace hako::guest {

/// Longest message taken from a client, bytes.
inline constexpr size_t kLargestMessage = 4 << 20;

/// One call of a method. Handlers read and write JSON; a client that speaks the binary codec is
/// translated for here. Errors are JSON in either.
class Call {
 public:
  Call(http::Exchange& exchange, const wire::Method& method);
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  http::Exchange& exchange() { return exchange_; }
  const http::RequestHead& head() const { return exchange_.head(); }

  /// The message of a unary call. Answers the request itself, and gives nothing, when that is of
  /// another type, too long or malformed.
  Task<std::optional<boost::json::object>> read_unary();
  /// A JSON message, or the error with its HTTP status.
  Task<bool> send_unary(Result<std::string> message);
  /// {} or the error.
  Task<bool> send_unary(Result<void> outcome);

  /// True if the request has the media type of a streaming call; else it has been answered (415).
  Task<bool> require_stream_type();
  /// The one message of a server-streaming call.
  Task<Result<boost::json::object>> read_stream_request();
  /// A message of a stream of requests.
  Result<boost::json::object> parse(std::string_view payload) const;
  /// Sends frames with JSON in them, the first ones with the response's head, the last ones with
  /// its end. `frames` is used up.
  Task<Result<void>> send(std::string& frames, bool last);
  /// A whole stream that is nothing but an error.
  Task<void> fail_stream(Error error);
  /// After how long a silence of ours the client wants to hear that the stream is alive.
  std::chrono::seconds keepalive() const;

 private:
  enum class Codec { json, proto };

  Task<bool> require_type(std::string_view json_type, std::string_view proto_type);
  Result<void> translate(std::string& frames) const;

  http::Exchange& exchange_;
  const wire::Method& method_;
  Codec codec_ = Codec::json;
  bool begun_ = false;
};

}  // namespace hako::guest
