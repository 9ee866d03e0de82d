#include "gate/upstream.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <boost/asio/ip/tcp.hpp>

namespace hako::gate {
namespace {

using namespace std::chrono_literals;
using boost::system::error_code;
using Clock = std::chrono::steady_clock;

Task<Result<void>> connect_to(http::Stream& stream,
                              asio::generic::stream_protocol::endpoint endpoint) {
  error_code error;
  co_await stream.async_connect(endpoint, asio::redirect_error(asio::use_awaitable, error));
  if (error == asio::error::operation_aborted) throw boost::system::system_error(error);
  if (error) co_return Error::from_errno(error.value(), "connect");
  co_return ok();
}

}  // namespace

Task<Result<asio::ip::address>> connect_out(std::optional<http::Stream>& into,
                                            std::vector<asio::ip::address> addresses,
                                            uint16_t port, Duration patience,
                                            const MayTry& may_try) {
  auto executor = co_await asio::this_coro::executor;
  auto end = Clock::now() + patience;
  Error problem(ErrorCode::unavailable, "no address to connect to");
  for (size_t i = 0; i < addresses.size(); ++i) {
    if (!may_try(addresses[i])) continue;
    asio::generic::stream_protocol::endpoint endpoint(asio::ip::tcp::endpoint(addresses[i], port));
    into.emplace(executor);
    error_code error;
    into->open(endpoint.protocol(), error);
    if (error) {
      problem = Error::from_errno(error.value(), "make a socket");
      continue;
    }
    int on = 1;
    ::setsockopt(into->native_handle(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    // An address that does not answer must leave time for the others.
    auto left = end - Clock::now();
    if (i + 1 < addresses.size()) left /= 2;
    auto connect = connect_to(*into, endpoint);
    auto connected = co_await with_deadline(left, std::move(connect));
    if (connected) {
      http::watch_for_dead_peer(into->native_handle());
      co_return addresses[i];
    }
    problem = std::move(connected).error();
    if (problem.code() == ErrorCode::timed_out)
      problem = Error(ErrorCode::timed_out, addresses[i].to_string() + " did not answer");
  }
  into.reset();
  co_return problem;
}

}  // namespace hako::gate
