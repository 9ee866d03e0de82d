// Connections out of this host.
#pragma once

#include <functional>
#include <vector>

#include "http/stream.h"

namespace hako::gate {

using MayTry = std::function<bool(const asio::ip::address& address)>;

/// Connects to the first of `addresses` that answers, within `patience` altogether; `may_try` is
/// asked about each just before. `into` holds the socket from before it is connected, so that
/// whoever owns it can reset it meanwhile. Dead peers are noticed within two minutes.
/// unavailable, timed_out, or the OS error.
Task<Result<asio::ip::address>> connect_out(std::optional<http::Stream>& into,
                                            std::vector<asio::ip::address> addresses,
                                            uint16_t port, Duration patience,
                                            const MayTry& may_try);

}  // namespace hako::gate
