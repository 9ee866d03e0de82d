// HTTP/1.1 messages as our code sees them.
#pragma once

#include <boost/beast/http/fields.hpp>
#include <boost/beast/http/verb.hpp>
#include <boost/json.hpp>

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "base/async/task.h"
#include "base/error.h"
#include "base/result.h"

namespace hako::http {

using Fields = boost::beast::http::fields;
using Verb = boost::beast::http::verb;
using Field = boost::beast::http::field;

struct RequestHead {
  Verb method = Verb::get;
  std::string method_text;  ///< as sent, for methods Beast does not know
  std::string target;       ///< as sent: path and query
  Fields fields;
  bool keep_alive = true;

  std::string_view path() const;   ///< target up to '?'
  std::string_view query() const;  ///< behind '?', or empty
  /// The first value of query parameter `name`, percent-decoded ('+' is a space).
  std::optional<std::string> parameter(std::string_view name) const;
  /// The first value of header `name`, or empty.
  std::string_view header(std::string_view name) const;
  /// Whether a body follows. One without may be sent a second time.
  bool has_body() const;
};

struct ResponseHead {
  unsigned status = 200;
  Fields fields;
};

/// A response with its whole body.
struct Response {
  unsigned status = 204;
  Fields fields;
  std::string body;
  /// Where this is set, what it returns follows behind the body, piece by piece, up to an empty
  /// one. Only for servers that look for it: Exchange::respond() does not.
  std::function<Task<Result<std::string>>()> more;

  static Response json(unsigned status, const boost::json::value& value);
  static Response text(unsigned status, std::string body);
  static Response empty(unsigned status = 204);
};

/// The HTTP status that stands for an error code.
unsigned status_of(ErrorCode code);
/// Whether the same request may do later: such an answer says when, in Retry-After.
inline bool passes_by_itself(unsigned status) {
  return status == 429 || status == 503;
}
/// {"code":<status>,"message":...}: the error body of the REST surfaces. `name` becomes
/// "error_code", for programs; empty: none.
Response error_response(unsigned status, std::string_view message, std::string_view name = {});
Response error_response(const Error& error, std::string_view name = {});

/// A field by which the API tells the gate, and nobody else, that it knows whose request it
/// answers.
inline constexpr const char* kKnownCaller = "X-Hako-Known";

}  // namespace hako::http
