#include "http/server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>

#include <algorithm>
#include <cerrno>
#include <optional>

#include "base/log.h"
#include "http/connection.h"

namespace hako::http {
namespace {

/// Lets new connections wait for a moment when the process has no descriptor left for them.
constexpr auto kExhaustedPause = std::chrono::milliseconds(50);
/// How often that is said.
constexpr auto kExhaustedSaid = std::chrono::seconds(10);

void turn_away(Fd connection) {
  constexpr std::string_view kBusy =
      "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\n"
      "Content-Length: 45\r\nRetry-After: 1\r\nConnection: close\r\n\r\n"
      "{\"code\":503,\"message\":\"too many connections\"}";
  static_assert(kBusy.size() - kBusy.find("\r\n\r\n") - 4 == 45);
  (void)!::send(connection.get(), kBusy.data(), kBusy.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  ::shutdown(connection.get(), SHUT_WR);
}

bool is_passing(int os_error) {
  switch (os_error) {
    case EINTR:
    case ECONNABORTED:
    case ENETDOWN:
    case EPROTO:
    case ENOPROTOOPT:
    case EHOSTDOWN:
    case ENONET:
    case EHOSTUNREACH:
    case EOPNOTSUPP:
    case ENETUNREACH:
      return true;
    default:
      return false;
  }
}

bool is_exhaustion(int os_error) {
  return os_error == EMFILE || os_error == ENFILE || os_error == ENOBUFS || os_error == ENOMEM;
}

using detail::Seats;

/// Nothing where the loop is too short of memory for another connection, which is then closed.
std::optional<Stream> stream_of(const asio::any_io_executor& executor, Fd connection) {
  try {
    return make_stream(executor, std::move(connection));
  } catch (const boost::system::system_error& refused) {
    log_warn("connection_not_taken", {{"error", refused.code().message()}});
    return std::nullopt;
  }
}

Task<void> welcome_and_serve(std::shared_ptr<Seats::Seat> seat, Stream stream,
                             const Handler& handler, const ServerLimits& limits,
                             const Welcome& welcome) {
  if (welcome) {
    auto welcoming = welcome(std::move(stream));
    auto welcomed = co_await with_deadline(limits.header_time, std::move(welcoming));
    if (!welcomed) co_return;
    stream = std::move(welcomed).value();
  }
  detail::Connection connection(std::move(stream), limits, seat.get());
  co_await connection.run(handler);
}

Task<void> accept_all(Fd listener, const Handler& handler, const ServerLimits& limits,
                      const Welcome& welcome, TaskGroup& connections) {
  auto executor = co_await asio::this_coro::executor;
  int fd = listener.get();
  asio::posix::stream_descriptor ready(executor, listener.release());
  Seats seats;
  std::optional<std::chrono::steady_clock::time_point> said;
  for (;;) {
    int accepted = ::accept4(fd, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    int os_error = errno;
    if (accepted >= 0) {
      Fd connection(accepted);
      bool full = false;
      if (seats.taken() >= limits.connections) {
        full = !seats.free_one();
        // Lets it end before the next one comes: of a burst none else would, until all had come.
        co_await asio::post(executor, asio::use_awaitable);
      }
      // Those that had to give way and have not ended yet hold descriptors all the same.
      full = full || connections.size() >= limits.connections + limits.connections / 8 + 1;
      if (full) {
        turn_away(std::move(connection));
        continue;
      }
      watch_for_dead_peer(connection.get());
      auto stream = stream_of(executor, std::move(connection));
      if (!stream) continue;
      auto seat = std::make_shared<Seats::Seat>(seats);
      auto serving = welcome_and_serve(seat, std::move(*stream), handler, limits, welcome);
      seat->is_of(connections.spawn("connection", std::move(serving)));
    } else if (os_error == EAGAIN) {
      co_await ready.async_wait(asio::posix::stream_descriptor::wait_read, asio::use_awaitable);
    } else if (is_exhaustion(os_error)) {
      auto now = std::chrono::steady_clock::now();
      if (!said || now - *said >= kExhaustedSaid) {
        log_warn("accept_exhausted", {{"error", Error::from_errno(os_error, "accept").message()}});
        said = now;
      }
      (void)seats.free_one();
      co_await sleep_for(kExhaustedPause);
    } else if (!is_passing(os_error)) {
      throw boost::system::system_error(os_error, boost::system::system_category(), "accept");
    }
  }
}

}  // namespace

size_t connections_within_descriptors(size_t each) {
  constexpr size_t kAtLeast = 64;
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return kAtLeast;
  return std::clamp<size_t>(limit.rlim_cur / 2 / each, kAtLeast, ServerLimits().connections);
}

Task<void> serve_connection(Stream stream, Handler handler, ServerLimits limits,
                            Malformed malformed) {
  detail::Connection connection(std::move(stream), limits);
  connection.tell_of_malformed(std::move(malformed));
  co_await connection.run(handler);
}

Result<Fd> listen_tcp(const std::string& address, uint16_t port) {
  boost::system::error_code error;
  auto ip = asio::ip::make_address(address, error);
  if (error) return Error(ErrorCode::invalid_argument, "not an IP address: " + address);
  asio::ip::tcp::endpoint endpoint(ip, port);
  Fd fd(::socket(endpoint.protocol().family(), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return Error::from_errno(errno, "make a listening socket");
  int on = 1;
  ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  std::string name = address + ":" + std::to_string(port);
  auto failure = [&](const char* what) {
    if (errno == EADDRINUSE)
      return Error(ErrorCode::failed_precondition,
                   "port " + std::to_string(port) + " of " + address + " is in use");
    return Error::from_errno(errno, what + name);
  };
  if (::bind(fd.get(), endpoint.data(), static_cast<socklen_t>(endpoint.size())) != 0)
    return failure("bind to ");
  if (::listen(fd.get(), 1024) != 0) return failure("listen on ");
  return fd;
}

uint16_t local_port(const Fd& listener) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  if (::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0) return 0;
  // SAFETY: both address forms keep the port in the same place.
  return ntohs(reinterpret_cast<const sockaddr_in&>(address).sin_port);
}

Task<void> serve(Fd listener, Handler handler, ServerLimits limits, Welcome welcome) {
  TaskGroup connections(co_await asio::this_coro::executor);
  std::exception_ptr fault;
  try {
    co_await accept_all(std::move(listener), handler, limits, welcome, connections);
  } catch (...) {
    fault = std::current_exception();
  }
  co_await shield_from_cancellation();
  co_await connections.stop();
  std::rethrow_exception(fault);
}

}  // namespace hako::http
