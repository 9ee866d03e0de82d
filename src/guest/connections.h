// The connections a machine has with the outside.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/result.h"

namespace hako::guest {

/// Ends every TCP connection whose other end is not in this machine, in whatever state, except that
/// of the daemon with `kept_port` of the host. Whoever waits on one is told at once: reads and
/// writes fail with ECONNABORTED. Connections between programs of this machine go on, and so do
/// listening sockets. How many were ended.
/// Errors: unsupported (a kernel without CONFIG_INET_DIAG_DESTROY).
Result<size_t> cut_connections(uint16_t kept_port);

}  // namespace hako::guest
