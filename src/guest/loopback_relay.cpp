#include "guest/loopback_relay.h"

#include <sys/socket.h>

#include <boost/asio/ip/tcp.hpp>

#include <array>
#include <cerrno>

#include "base/async/task_group.h"
#include "base/log.h"
#include "http/stream.h"

namespace hako::guest {
namespace {

using namespace asio::experimental::awaitable_operators;
using http::Stream;

constexpr size_t kMostRelays = 512;
constexpr std::chrono::seconds kHandshakeTime{10};
constexpr std::chrono::seconds kConnectTime{5};
constexpr std::chrono::milliseconds kNoDescriptorPause{50};
constexpr size_t kRelayPiece = 64 << 10;
/// Pieces in a row before others get a turn.
constexpr int kPiecesPerTurn = 16;

std::string peer_of(int socket) {
  asio::ip::tcp::endpoint peer;
  auto size = static_cast<socklen_t>(peer.capacity());
  if (::getpeername(socket, peer.data(), &size) < 0) return {};
  return peer.address().to_string();
}

Task<Result<uint16_t>> read_port(Stream& stream) {
  std::array<uint8_t, 2> bytes;
  boost::system::error_code error;
  auto buffer = asio::buffer(bytes);
  co_await asio::async_read(stream, buffer, asio::redirect_error(asio::use_awaitable, error));
  if (error == asio::error::operation_aborted) throw boost::system::system_error(error);
  if (error) co_return Error(ErrorCode::unavailable, "no port was asked for");
  co_return static_cast<uint16_t>(bytes[0] << 8 | bytes[1]);
}

Task<Result<Stream>> connect_to(uint16_t port) {
  auto service = co_await http::connect_tcp("127.0.0.1", port, kConnectTime);
  if (!service) service = co_await http::connect_tcp("::1", port, kConnectTime);
  co_return service;
}

/// Copies until `from` ends, and ends `to` then. No memory is held while nothing comes.
/// Throws when either side breaks.
Task<void> carry(Stream& from, Stream& to) {
  // Shared by all: what is in it is passed on, or copied, before anything else runs.
  static std::array<char, kRelayPiece> chunk;
  for (int pieces = 0;;) {
    if (++pieces % kPiecesPerTurn == 0) co_await asio::post(asio::use_awaitable);
    boost::system::error_code error;
    size_t count = from.read_some(asio::buffer(chunk), error);
    if (error == asio::error::would_block) {
      co_await from.async_wait(Stream::wait_read, asio::use_awaitable);
      continue;
    }
    if (error == asio::error::eof) break;
    if (error) throw boost::system::system_error(error);
    size_t sent = to.write_some(asio::buffer(chunk.data(), count), error);
    if (error && error != asio::error::would_block) throw boost::system::system_error(error);
    if (error) sent = 0;
    if (sent == count) continue;
    std::string rest(chunk.data() + sent, count - sent);
    co_await asio::async_write(to, asio::buffer(rest), asio::use_awaitable);
  }
  boost::system::error_code ignored;
  to.shutdown(Stream::shutdown_send, ignored);
}

Task<void> relay_both_ways(Stream& peer, Stream& service) {
  bool broke = false;
  try {
    auto there = carry(peer, service);
    auto back = carry(service, peer);
    co_await (std::move(there) && std::move(back));
  } catch (const std::exception&) {
    broke = true;
  }
  if (!broke) co_return;
  http::reset_connection(peer);
  http::reset_connection(service);
}

Task<void> serve_one(Stream peer) {
  auto asked = read_port(peer);
  auto port = co_await with_deadline(kHandshakeTime, std::move(asked));
  if (!port) co_return;
  auto service = co_await connect_to(port.value());
  const char answer = service ? 0 : 1;
  boost::system::error_code error;
  co_await asio::async_write(peer, asio::buffer(&answer, 1),
                             asio::redirect_error(asio::use_awaitable, error));
  if (error || !service) co_return;
  peer.non_blocking(true);
  service.value().non_blocking(true);
  // A peer that has vanished without a word is noticed in the end.
  for (Stream* stream : {&peer, &service.value()}) {
    int on = 1;
    ::setsockopt(stream->native_handle(), SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  }
  co_await relay_both_ways(peer, service.value());
}

Task<void> accept_relays(Fd listener, const std::string& host_address, TaskGroup& relays) {
  auto executor = co_await asio::this_coro::executor;
  int fd = listener.get();
  asio::posix::stream_descriptor ready(executor, listener.release());
  for (;;) {
    Fd accepted(::accept4(fd, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    int os_error = errno;
    if (accepted) {
      // Whoever else asks learns nothing, not even that somebody is here to ask.
      bool welcome = relays.size() < kMostRelays && peer_of(accepted.get()) == host_address;
      auto stream = http::make_stream(executor, std::move(accepted));
      if (welcome) {
        relays.spawn("relay", serve_one(std::move(stream)));
      } else {
        http::reset_connection(stream);
      }
    } else if (os_error == EAGAIN) {
      co_await ready.async_wait(asio::posix::stream_descriptor::wait_read, asio::use_awaitable);
    } else {
      // Out of descriptors, or a connection that broke before it was taken.
      co_await sleep_for(kNoDescriptorPause);
    }
  }
}

}  // namespace

Task<void> serve_loopback_relay(Fd listener, std::string host_address) {
  TaskGroup relays(co_await asio::this_coro::executor);
  std::exception_ptr fault;
  try {
    co_await accept_relays(std::move(listener), host_address, relays);
  } catch (...) {
    fault = std::current_exception();
  }
  co_await shield_from_cancellation();
  co_await relays.stop();
  std::rethrow_exception(fault);
}

}  // namespace hako::guest
