// HTTP without TLS on its way out of a box, where it must be for the name that was allowed.
#pragma once

#include <functional>

#include "base/async/task.h"
#include "gate/agreement.h"
#include "gate/box_secrets.h"
#include "http/stream.h"

namespace hako::gate {

struct PlainHttp {
  Expected expected;  ///< what every request must be for
  /// A new connection to where the name leads; asked for when a request may pass.
  std::function<Task<Result<http::Stream>>()> connect;
  /// Whose placeholders no request may carry: none of them is ever put in where nothing is encrypted.
  /// Empty for a box that has none. While it fails, no request passes.
  std::function<Task<Result<BoxSecretsRef>>()> secrets;
  /// Told why a request was refused.
  std::function<void(const std::string& reason)> refused;
};

/// Serves the connection of a program in a box until it ends: passes on the requests that are for
/// the name, WebSockets included, and answers others with 403 and one line of why.
Task<void> relay_http(http::Stream client, PlainHttp way);

/// Answers the first request with 403 and `reason`, and ends the connection.
Task<void> refuse_http(http::Stream client, std::string reason);

}  // namespace hako::gate
