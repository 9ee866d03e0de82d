// A way for the host to services of the machine that listen on its loopback address only.
#pragma once

#include <cstdint>
#include <string>

#include "base/async/task.h"
#include "base/fd.h"

namespace hako::guest {

inline constexpr uint16_t kRelayPort = 49982;

/// Accepts connections until cancelled, from `host_address` only. The other side sends the wanted
/// port (two bytes, big-endian) and gets one byte: 0, connected to it on 127.0.0.1 or ::1, or 1,
/// refused, and the end. Then bytes go both ways until both directions have ended; a broken
/// connection is broken on both sides.
Task<void> serve_loopback_relay(Fd listener, std::string host_address);

}  // namespace hako::guest
