// Connect RPC on the server side: unary calls and the frame of streaming ones.
#pragma once

#include <boost/json/object.hpp>

#include <string>

#include "guest/context.h"

namespace hako::guest {

/// Longest JSON message taken from a client, bytes.
inline constexpr size_t kLargestMessage = 4 << 20;

/// The body of a unary call. Answers the request itself, and gives nothing, when it is not JSON,
/// too long or malformed.
Task<std::optional<boost::json::object>> read_unary(http::Exchange& exchange);
/// A JSON message, or the error with its HTTP status.
Task<bool> send_unary(http::Exchange& exchange, Result<std::string> message);
/// {} or the error.
Task<bool> send_unary(http::Exchange& exchange, Result<void> outcome);

/// True if the request's content type is that of a streaming call; else it has been answered (415).
Task<bool> require_stream_type(http::Exchange& exchange);
/// The one message of a server-streaming call.
Task<Result<boost::json::object>> read_stream_request(http::Exchange& exchange);
/// Starts the response; frames follow by exchange.write().
Task<Result<void>> begin_stream(http::Exchange& exchange);
/// A whole stream that is nothing but an error.
Task<void> fail_stream(http::Exchange& exchange, Error error);

}  // namespace hako::guest
