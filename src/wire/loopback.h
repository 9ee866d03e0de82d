// Reaching services that listen on a guest's own loopback address only.
#pragma once

#include <cstdint>

namespace hako::wire {

/// The guest's relay: it reads a port, two bytes, the high one first; connects to 127.0.0.1 there;
/// answers one byte; and is then that connection's bytes, both ways.
inline constexpr uint16_t kLoopbackRelayPort = 49982;
inline constexpr char kLoopbackConnected = 0;
inline constexpr char kLoopbackRefused = 1;

}  // namespace hako::wire
