#include "gate/destination.h"

#include <sys/socket.h>

#include <boost/asio/ip/udp.hpp>

#include <cerrno>

#include "base/fd.h"

namespace hako::gate {
namespace {

/// Any will do: nothing is sent.
constexpr uint16_t kSomePort = 9;

template <class Endpoint>
Result<Endpoint> local_endpoint(int socket) {
  Endpoint endpoint;
  auto size = static_cast<socklen_t>(endpoint.capacity());
  if (::getsockname(socket, endpoint.data(), &size) != 0)
    return Error::from_errno(errno, "read a socket's address");
  int family = endpoint.data()->sa_family;
  if (family != AF_INET && family != AF_INET6)
    return Error(ErrorCode::internal, "not a socket of IP");
  endpoint.resize(size);
  return endpoint;
}

asio::ip::address unmapped(const asio::ip::address& address) {
  if (address.is_v6() && address.to_v6().is_v4_mapped())
    return asio::ip::make_address_v4(asio::ip::v4_mapped, address.to_v6());
  return address;
}

}  // namespace

Result<asio::ip::tcp::endpoint> original_destination(int connection) {
  HAKO_TRY(auto endpoint, local_endpoint<asio::ip::tcp::endpoint>(connection));
  endpoint.address(unmapped(endpoint.address()));
  return endpoint;
}

bool is_own_address(const asio::ip::address& address) {
  asio::ip::udp::endpoint there(unmapped(address), kSomePort);
  if (there.address().is_loopback() || there.address().is_unspecified()) return true;
  // The kernel knows all addresses of this host, those that came a moment ago too: from one of
  // them to itself is the only way with the same address at both ends.
  Fd probe(::socket(there.protocol().family(), SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!probe) return true;
  if (::connect(probe.get(), there.data(), static_cast<socklen_t>(there.size())) != 0) {
    // No way there: then connecting fails as well, and says why.
    return errno != ENETUNREACH && errno != EHOSTUNREACH && errno != EADDRNOTAVAIL;
  }
  auto here = local_endpoint<asio::ip::udp::endpoint>(probe.get());
  if (!here) return true;
  auto own = unmapped(here.value().address());
  return own == there.address() || own.is_loopback();
}

}  // namespace hako::gate
