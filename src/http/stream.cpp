#include "http/stream.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>

#include <cerrno>

namespace hako::http {
namespace {

Task<Result<Stream>> connect(asio::generic::stream_protocol::endpoint endpoint, std::string name) {
  Stream stream(co_await asio::this_coro::executor);
  boost::system::error_code error;
  stream.open(endpoint.protocol(), error);
  if (error) co_return Error::from_errno(error.value(), "make a socket for " + name);
  if (endpoint.protocol().family() != AF_UNIX) {
    int on = 1;
    ::setsockopt(stream.native_handle(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  }
  co_await stream.async_connect(endpoint, asio::redirect_error(asio::use_awaitable, error));
  if (error == asio::error::operation_aborted) throw boost::system::system_error(error);
  if (error) co_return Error::from_errno(error.value(), "connect to " + name);
  co_return stream;
}

}  // namespace

Stream make_stream(asio::any_io_executor executor, Fd connected) {
  int family = AF_INET;
  socklen_t size = sizeof family;
  ::getsockopt(connected.get(), SOL_SOCKET, SO_DOMAIN, &family, &size);
  int protocol = 0;
  if (family != AF_UNIX) {
    protocol = IPPROTO_TCP;
    int on = 1;
    ::setsockopt(connected.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  }
  Stream stream(executor);
  stream.assign(asio::generic::stream_protocol(family, protocol), connected.get());
  // Only now: a loop that does not take it throws, and it would be lost.
  (void)connected.release();
  return stream;
}

Task<void> finish_sending(Stream& stream) {
  if (auto* layer = stream.layer()) co_await layer->finish(stream);
  boost::system::error_code ignored;
  stream.shutdown(Stream::shutdown_send, ignored);
}

Task<Result<Stream>> connect_tcp(std::string address, uint16_t port, Duration deadline) {
  boost::system::error_code error;
  auto ip = asio::ip::make_address(address, error);
  if (error) co_return Error(ErrorCode::invalid_argument, "not an IP address: " + address);
  asio::generic::stream_protocol::endpoint endpoint(asio::ip::tcp::endpoint(ip, port));
  auto work = connect(endpoint, address + ":" + std::to_string(port));
  co_return co_await with_deadline(deadline, std::move(work));
}

Task<Result<Stream>> connect_unix(std::string path, Duration deadline) {
  if (path.empty() || path.size() >= sizeof(sockaddr_un::sun_path))
    co_return Error(ErrorCode::invalid_argument, "no path for a socket: " + path);
  asio::generic::stream_protocol::endpoint endpoint{asio::local::stream_protocol::endpoint(path)};
  auto work = connect(endpoint, path);
  co_return co_await with_deadline(deadline, std::move(work));
}

void reset_connection(Stream& stream) {
  if (!stream.is_open()) return;
  // Disconnecting (AF_UNSPEC) sends the reset at once and wakes whoever waits on the socket, while
  // the descriptor stays valid for them. Unix sockets have no reset: they are shut down.
  sockaddr nowhere{};
  nowhere.sa_family = AF_UNSPEC;
  linger at_once{1, 0};
  ::setsockopt(stream.native_handle(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  if (::connect(stream.native_handle(), &nowhere, sizeof nowhere) != 0)
    ::shutdown(stream.native_handle(), SHUT_RDWR);
}

void watch_for_dead_peer(int socket) {
  int on = 1, idle_seconds = 60, between_seconds = 15, tries = 4;
  ::setsockopt(socket, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  ::setsockopt(socket, IPPROTO_TCP, TCP_KEEPIDLE, &idle_seconds, sizeof idle_seconds);
  ::setsockopt(socket, IPPROTO_TCP, TCP_KEEPINTVL, &between_seconds, sizeof between_seconds);
  ::setsockopt(socket, IPPROTO_TCP, TCP_KEEPCNT, &tries, sizeof tries);
}

}  // namespace hako::http
