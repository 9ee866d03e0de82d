#include "api/registry_door.h"

#include <algorithm>
#include <array>

#include "base/log.h"
#include "http/relay.h"
#include "jail/secluded.h"

namespace hako::api {
using namespace std::chrono_literals;
using boost::system::error_code;

namespace {

constexpr auto kAskTime = 10s;       ///< for the program to say where it wants to go
constexpr auto kConnectTime = 20s;   ///< to each address of a name
constexpr auto kResolveTime = 20s;
constexpr auto kAfterError = 100ms;
constexpr size_t kMostConnections = 64;
constexpr size_t kMostAddresses = 8;

// RFC 1928.
constexpr uint8_t kVersion = 5, kNoAuthentication = 0, kConnect = 1;
constexpr uint8_t kIpv4 = 1, kName = 3, kIpv6 = 4;
constexpr uint8_t kDone = 0, kNotAllowed = 2, kHostUnreachable = 4, kCommandNotSupported = 7;

struct PullTarget {
  std::string host;
  uint16_t port = 0;
};

Task<Result<void>> read_exactly(http::Stream& stream, asio::mutable_buffer into) {
  error_code error;
  co_await asio::async_read(stream, into, asio::redirect_error(asio::use_awaitable, error));
  if (error) co_return Error(ErrorCode::unavailable, "the connection broke");
  co_return ok();
}

Task<Result<void>> write_all_to(http::Stream& stream, asio::const_buffer bytes) {
  error_code error;
  co_await asio::async_write(stream, bytes, asio::redirect_error(asio::use_awaitable, error));
  if (error) co_return Error(ErrorCode::unavailable, "the connection broke");
  co_return ok();
}

Task<Result<void>> answer(http::Stream& stream, uint8_t how) {
  std::array<uint8_t, 10> reply{kVersion, how, 0, kIpv4};
  co_return co_await write_all_to(stream, asio::buffer(reply));
}

/// What a SOCKS5 client asks to be connected with.
Task<Result<PullTarget>> read_request(http::Stream& stream) {
  std::array<uint8_t, 256> bytes{};
  Error strange(ErrorCode::corrupted, "this is not SOCKS5");
  HAKO_CO_TRYV(co_await read_exactly(stream, asio::buffer(bytes, 2)));
  if (bytes[0] != kVersion || bytes[1] == 0) co_return strange;
  HAKO_CO_TRYV(co_await read_exactly(stream, asio::buffer(bytes, bytes[1])));
  std::array<uint8_t, 2> method{kVersion, kNoAuthentication};
  HAKO_CO_TRYV(co_await write_all_to(stream, asio::buffer(method)));
  HAKO_CO_TRYV(co_await read_exactly(stream, asio::buffer(bytes, 4)));
  if (bytes[0] != kVersion || bytes[1] != kConnect) co_return strange;
  uint8_t kind = bytes[3];
  PullTarget wanted;
  if (kind == kName) {
    HAKO_CO_TRYV(co_await read_exactly(stream, asio::buffer(bytes, 1)));
    size_t size = bytes[0];
    HAKO_CO_TRYV(co_await read_exactly(stream, asio::buffer(bytes, size)));
    wanted.host.assign(bytes.begin(), bytes.begin() + ptrdiff_t(size));
  } else if (kind == kIpv4) {
    asio::ip::address_v4::bytes_type address;
    HAKO_CO_TRYV(co_await read_exactly(stream, asio::buffer(address)));
    wanted.host = asio::ip::address_v4(address).to_string();
  } else if (kind == kIpv6) {
    asio::ip::address_v6::bytes_type address;
    HAKO_CO_TRYV(co_await read_exactly(stream, asio::buffer(address)));
    wanted.host = asio::ip::address_v6(address).to_string();
  } else {
    (void)co_await answer(stream, kCommandNotSupported);
    co_return strange;
  }
  HAKO_CO_TRYV(co_await read_exactly(stream, asio::buffer(bytes, 2)));
  wanted.port = uint16_t(bytes[0] << 8 | bytes[1]);
  co_return wanted;
}

Task<Result<std::vector<std::string>>> resolve(std::string host) {
  asio::ip::tcp::resolver resolver(co_await asio::this_coro::executor);
  error_code failed;
  auto found =
      co_await resolver.async_resolve(host, "", asio::redirect_error(asio::use_awaitable, failed));
  if (failed) co_return Error(ErrorCode::unavailable, host + " has no address");
  std::vector<std::string> addresses;
  for (const auto& each : found) {
    if (addresses.size() == kMostAddresses) break;
    addresses.push_back(each.endpoint().address().to_string());
  }
  co_return addresses;
}

Task<Result<http::Stream>> connect(PullTarget wanted) {
  auto look = resolve(wanted.host);
  auto found = co_await with_deadline(kResolveTime, std::move(look));
  if (!found) co_return Error(ErrorCode::unavailable, wanted.host + " has no address");
  const auto& addresses = found.value();
  for (const std::string& address : addresses) {
    auto stream = co_await http::connect_tcp(address, wanted.port, kConnectTime);
    if (stream) co_return std::move(stream);
  }
  co_return Error(ErrorCode::unavailable,
                  wanted.host + ":" + std::to_string(wanted.port) + " does not answer");
}

}  // namespace

RegistryDoor::RegistryDoor(const policy::RegistryLists& lists) : lists_(lists) {
  auto local = policy::loopback_endpoints(lists);
  policy::LoopbackEndpoint proxy{"127.0.0.1", 1080};
  while (std::find(local.begin(), local.end(), proxy) != local.end()) ++proxy.port;
  endpoints_.push_back(std::move(proxy));
  for (auto& each : local) {
    if (endpoints_.size() == jail::kMostInnerListeners) break;
    endpoints_.push_back(std::move(each));
  }
}

std::string RegistryDoor::proxy_url() const {
  return "socks5://" + endpoints_[0].address + ":" + std::to_string(endpoints_[0].port);
}

Task<void> RegistryDoor::serve(std::vector<Fd> listeners) {
  TaskGroup connections(co_await asio::this_coro::executor);
  for (size_t i = 0; i < listeners.size(); ++i)
    connections.spawn("registry door", accept_all(std::move(listeners[i]), i, connections));
  std::exception_ptr cancelled;
  try {
    for (;;) co_await sleep_for(24h);
  } catch (...) {
    cancelled = std::current_exception();
  }
  co_await shield_from_cancellation();
  co_await connections.stop();
  std::rethrow_exception(cancelled);
}

Task<void> RegistryDoor::accept_all(Fd listener, size_t number, TaskGroup& connections) {
  auto executor = co_await asio::this_coro::executor;
  asio::ip::tcp::acceptor acceptor(executor, asio::ip::tcp::v4(), listener.release());
  for (;;) {
    error_code error;
    auto socket = co_await acceptor.async_accept(asio::redirect_error(asio::use_awaitable, error));
    if (error == asio::error::operation_aborted) throw boost::system::system_error(error);
    if (error) {
      co_await sleep_for(kAfterError);
      continue;
    }
    if (connections.size() > kMostConnections) continue;  // closes it
    http::Stream stream{http::Stream::Socket(std::move(socket))};
    connections.spawn("registry connection", pass_on(std::move(stream), number));
  }
}

Task<void> RegistryDoor::pass_on(http::Stream stream, size_t number) {
  PullTarget wanted{endpoints_[number].address, endpoints_[number].port};
  if (number == 0) {
    auto ask = read_request(stream);
    auto asked = co_await with_deadline(kAskTime, std::move(ask));
    if (!asked) co_return;
    wanted = std::move(asked).value();
    auto decision = policy::may_reach(wanted.host, wanted.port, lists_);
    if (!decision.allowed) {
      trouble_ = Error(ErrorCode::permission_denied, decision.explanation());
      log_info("pull kept from leaving", {{"reason", decision.reason}});
      (void)co_await answer(stream, kNotAllowed);
      co_return;
    }
  }
  auto upstream = co_await connect(std::move(wanted));
  bool refused = trouble_ && trouble_->code() == ErrorCode::permission_denied;
  if (!upstream && !refused) trouble_ = upstream.error();
  if (number == 0) {
    auto told = co_await answer(stream, upstream ? kDone : kHostUnreachable);
    if (!told) co_return;
  }
  // A registry on loopback that is not there: the program sees the connection end.
  if (!upstream) co_return;
  co_await http::tunnel(std::move(stream), "", std::move(upstream).value(), "");
}

}  // namespace hako::api
