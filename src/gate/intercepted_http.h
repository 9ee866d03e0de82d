// HTTP that the gate looks into: what a box says to a host that one of its secrets is for.
#pragma once

#include <functional>

#include "gate/agreement.h"
#include "gate/body_room.h"
#include "gate/broker_link.h"
#include "http/client.h"

namespace hako::gate {

struct InterceptedHttp {
  BrokerLink& broker;
  BodyRoom& bodies;
  std::string box;
  Expected expected;  ///< the host, for which every request must be
  /// A new connection to the host, encrypted, which has proved who it is.
  std::function<Task<Result<http::Stream>>()> connect;
  /// One that another connection of the box has left over; nothing if there is none.
  std::function<std::optional<http::Client>()> spare;
  /// Takes what is left over at the end.
  std::function<void(http::Client client)> keep;
  /// Told what has been decided about a request. `kind`: "secret", "model". `rule` names the secret, or
  /// the model.
  std::function<void(std::string_view kind, std::string_view verdict, std::string rule,
                     std::string reason)>
      note;
  /// The connection has become another protocol's, and ends when the box's secrets change.
  std::function<void()> switched;
};

/// Serves the connection, of which TLS has been taken off, until it ends. Requests that may not pass are
/// answered with 403 and one line of why; others pass as they come, with secrets in the place of
/// placeholders, and their answers without the secrets. Secrets are those that the box has when a
/// request begins.
Task<void> relay_intercepted(http::Stream client, InterceptedHttp way);

}  // namespace hako::gate
