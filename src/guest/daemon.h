// The daemon as a whole: its parts, put together and running.
#pragma once

#include <string>

#include "guest/context.h"

namespace hako::guest {

/// Where the contract has the daemon listen.
inline constexpr uint16_t kDaemonPort = 49983;

/// Serves on address:port until SIGTERM or SIGINT. SIGCHLD, SIGTERM and SIGINT must be blocked in
/// every thread. Errors: those of listening.
Result<void> run_daemon(const std::string& address, uint16_t port, Settings settings);

}  // namespace hako::guest
