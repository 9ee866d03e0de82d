// What serving HTTP on its way out of a box comes to, whether TLS is around it or not.
#pragma once

#include "http/server.h"

namespace hako::gate {

/// A box may be slow, and leave a connection alone for long; what it holds is bounded elsewhere.
inline http::ServerLimits outward_limits() {
  http::ServerLimits limits;
  limits.header_time = std::chrono::seconds(10);
  limits.idle = std::chrono::seconds(600);
  limits.stall = std::chrono::seconds(600);
  return limits;
}

/// Answers in the gate's own name, with one line of why.
inline Task<void> say(http::Exchange& exchange, unsigned status, std::string_view reason) {
  auto response = http::Response::text(status, "hako: " + std::string(reason) + "\n");
  if (http::passes_by_itself(status)) response.fields.set(http::Field::retry_after, "1");
  (void)co_await exchange.respond(std::move(response));
}

}  // namespace hako::gate
