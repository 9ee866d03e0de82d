// What both ends of a connection count on alike.
#pragma once

#include <chrono>

namespace hako::rpc {

/// box.fork: how much longer than a single create the node may take for each of the children, and
/// the api waits for them.
inline constexpr std::chrono::seconds kTimeForEachChild{1};

}  // namespace hako::rpc
