// The API server: REST, keys, records. Runs unprivileged.
#pragma once

#include <functional>

#include "api/keys.h"
#include "base/async/task.h"
#include "base/fd.h"
#include "config/config.h"

namespace hako::api {

struct ApiOptions {
  /// Root prepares the API's state (see prepare_api_state) and becomes config's api user for good,
  /// before any other thread is there and before a byte of a stranger is read. This says not to.
  bool stay_root = false;
  /// A listening socket to serve on; none means config's address and port.
  Fd listener;
  /// A second one, where the gate brings requests that came to it over TLS. None means
  /// config's api_socket(), if there is a certificate.
  Fd gate_listener;
  /// A third one, where gates are told which boxes sleep and ask to have them woken. None means
  /// config's wake_socket().
  Fd wake_listener;
  /// A fourth one, where gates ask for what they put into the connections that they terminate. None
  /// means config's broker_socket().
  Fd broker_listener;
  /// How often the node is asked whether the certificate has changed.
  std::chrono::milliseconds certificate_look{5000};
  /// Called once requests are being accepted, with the port.
  std::function<void(uint16_t port)> on_listening;
};

/// Serves until cancelled. If it is not started by root, prepare_api_state() must have run before.
/// Beyond loopback it listens only once the node has said which isolation boxes have, and policy
/// allows that, and has handed over a certificate that is of use if one is configured; and it ends
/// as soon as policy does not.
/// Errors: corrupted, no_space, failed_precondition (a newer version's database, port in use, a
/// second thread while root), permission_denied (policy, with what would have to change).
/// Cancel: safe; records of creates that were cut off are cleared at the next start.
Task<Result<void>> run_api(config::Config config, ApiOptions options = {});

}  // namespace hako::api
