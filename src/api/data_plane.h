// Requests for the boxes themselves that arrive on the API's port: passed on to the gate.
#pragma once

#include <deque>

#include "config/config.h"
#include "http/relay.h"

namespace hako::api {

/// Whether a request is for a box and not for the API.
bool is_data_plane(const http::RequestHead& head);

/// Where we reach a server that listens at this address: one that means "all" is ours as well.
std::string reachable(const std::string& listening);
/// A connection to the gate. unavailable, timed_out.
Task<Result<http::Client>> connect_gate(const config::Config& config);

/// Relays to the gate over connections that are kept for the next request.
/// Thread: one executor.
class DataPlane {
 public:
  static constexpr size_t kMostIdle = 64;

  explicit DataPlane(const config::Config& config) : config_(config) {}

  /// Serves one exchange to its end, with `head` in place of its own. 503 when the gate cannot be
  /// reached.
  Task<void> serve(http::Exchange& exchange, http::RequestHead head);

 private:
  struct Idle {
    http::Client client;
    std::chrono::steady_clock::time_point since;
  };
  std::optional<http::Client> take_idle();
  void keep(http::Client client);

  const config::Config& config_;
  std::deque<Idle> idle_;  ///< the one used last at the back
};

}  // namespace hako::api
