// The connections HTTP runs over.
#pragma once

#include <boost/asio/generic/stream_protocol.hpp>

#include "base/async/task.h"
#include "base/fd.h"

namespace hako::http {

/// A TCP or unix stream socket.
using Stream = boost::asio::generic::stream_protocol::socket;

/// Takes over a connected socket.
Stream make_stream(asio::any_io_executor executor, Fd connected);
/// Connects to 127.0.0.1:port, host:port (numeric), or a unix socket path.
Task<Result<Stream>> connect_tcp(std::string address, uint16_t port, Duration deadline);
Task<Result<Stream>> connect_unix(std::string path, Duration deadline);
/// Ends the connection with a TCP reset, so that the other side sees that it was cut, not ended.
void reset_connection(Stream& stream);

}  // namespace hako::http
