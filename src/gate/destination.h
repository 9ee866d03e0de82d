// Where a connection that a box has opened was meant to go.
#pragma once

#include <boost/asio/ip/tcp.hpp>

#include "base/result.h"

namespace hako::gate {

namespace asio = boost::asio;

/// The local address of a connection that came through a transparent listener: what the box has
/// connected to. Errors: internal (not a TCP socket).
Result<asio::ip::tcp::endpoint> original_destination(int connection);

}  // namespace hako::gate
