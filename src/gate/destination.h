// Where a connection that a box has opened was meant to go.
#pragma once

#include <boost/asio/ip/tcp.hpp>

#include "base/result.h"

namespace hako::gate {

namespace asio = boost::asio;

/// The local address of a connection that came through a transparent listener: what the box has
/// connected to. Errors: internal (not a TCP socket).
Result<asio::ip::tcp::endpoint> original_destination(int connection);

/// Whether connecting to `address` would reach this host itself, whichever of its interfaces the
/// address is on. Also when that cannot be told.
bool is_own_address(const asio::ip::address& address);

}  // namespace hako::gate
