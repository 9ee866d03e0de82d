#include "gate/destination.h"

#include <sys/socket.h>

#include <cerrno>

#include "policy/target_match.h"

namespace hako::gate {

Result<asio::ip::tcp::endpoint> original_destination(int connection) {
  asio::ip::tcp::endpoint endpoint;
  auto size = static_cast<socklen_t>(endpoint.capacity());
  if (::getsockname(connection, endpoint.data(), &size) != 0)
    return Error::from_errno(errno, "read a socket's address");
  int family = endpoint.data()->sa_family;
  if (family != AF_INET && family != AF_INET6)
    return Error(ErrorCode::internal, "not a socket of IP");
  endpoint.resize(size);
  endpoint.address(policy::unmapped(endpoint.address()));
  return endpoint;
}

}  // namespace hako::gate
