// Connections out of this host.
#pragma once

#include <functional>
#include <vector>

#include "http/stream.h"

namespace hako::gate {

/// Connects to the first of `addresses` that answers, within `patience` altogether. `into` holds the
/// socket from before it is connected, so that whoever owns it can reset it meanwhile; `give_up` is
/// asked before each try. Dead peers are noticed within two minutes.
/// unavailable, timed_out, or the OS error.
Task<Result<asio::ip::address>> connect_out(std::optional<http::Stream>& into,
                                            std::vector<asio::ip::address> addresses,
                                            uint16_t port, Duration patience,
                                            const std::function<bool()>& give_up);

}  // namespace hako::gate
