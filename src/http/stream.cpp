#include "http/stream.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>

#include <array>
#include <cerrno>

namespace hako::http {

using boost::system::error_code;

namespace {

/// So much is sent, by whomever, before others get their turn.
constexpr size_t kSentWithoutPause = 256 << 10;
/// What one call to the kernel counts at least: small ones take their time, too.
constexpr size_t kLeastCounted = 4 << 10;

error_code last_error() {
  return error_code(errno, boost::system::system_category());
}

Task<Result<Stream>> connect(asio::generic::stream_protocol::endpoint endpoint, std::string name) {
  Stream stream(co_await asio::this_coro::executor);
  error_code error;
  stream.open(endpoint.protocol(), error);
  if (error) co_return Error::from_errno(error.value(), "make a socket for " + name);
  if (endpoint.protocol().family() != AF_UNIX) {
    int on = 1;
    ::setsockopt(stream.native_handle(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  }
  co_await stream.async_connect(endpoint, asio::redirect_error(asio::use_awaitable, error));
  rethrow_cancelled(error);
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

void rethrow_cancelled(const error_code& error) {
  if (error == asio::error::operation_aborted) throw boost::system::system_error(error);
}

Task<error_code> send_bytes(Stream::Socket& socket, std::span<const asio::const_buffer> pieces) {
  std::array<iovec, 4> vectors;
  assert(pieces.size() <= vectors.size());
  size_t count = 0;
  for (const auto& piece : pieces) {
    if (piece.size() == 0) continue;
    vectors[count++] = {const_cast<void*>(piece.data()), piece.size()};
  }
  static thread_local size_t sent = 0;
  size_t first = 0;
  while (first < count) {
    msghdr message{};
    message.msg_iov = &vectors[first];
    message.msg_iovlen = count - first;
    ssize_t n = ::sendmsg(socket.native_handle(), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno != EAGAIN) co_return last_error();
    if (n < 0) {
      error_code error;
      co_await socket.async_wait(Stream::wait_write,
                                 asio::redirect_error(asio::use_awaitable, error));
      rethrow_cancelled(error);
      if (error) co_return error;
      continue;
    }
    size_t done = static_cast<size_t>(n);
    sent += std::max(done, kLeastCounted);
    while (first < count && done >= vectors[first].iov_len) done -= vectors[first++].iov_len;
    if (first < count) {
      vectors[first].iov_base = static_cast<char*>(vectors[first].iov_base) + done;
      vectors[first].iov_len -= done;
    }
    if (sent >= kSentWithoutPause) {
      sent = 0;
      co_await asio::post(socket.get_executor(), asio::use_awaitable);
    }
  }
  co_return error_code();
}

Task<error_code> receive_bytes(Stream::Socket& socket, asio::mutable_buffer into, size_t& count,
                               bool at_hand) {
  if (at_hand) {
    ssize_t n = ::recv(socket.native_handle(), into.data(), into.size(), MSG_DONTWAIT);
    if (n > 0) {
      count = static_cast<size_t>(n);
      co_return error_code();
    }
  }
  error_code error;
  count = co_await socket.async_read_some(into, asio::redirect_error(asio::use_awaitable, error));
  rethrow_cancelled(error);
  co_return error;
}

Task<void> finish_sending(Stream& stream, Ending ending) {
  if (auto* layer = stream.layer()) co_await layer->finish(stream, ending);
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
