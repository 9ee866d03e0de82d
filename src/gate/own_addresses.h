// Which addresses are this host's own.
#pragma once

#include <boost/asio/ip/address.hpp>

#include "base/fd.h"

namespace hako::gate {

namespace asio = boost::asio;

/// Asks the kernel where it would route to. That tells all addresses of this host, secondary ones
/// and those that came a moment ago too.
class OwnAddresses {
 public:
  /// Those of the calling thread's network namespace. Opens a netlink socket, which a confined gate
  /// cannot do any more.
  static Result<OwnAddresses> open();

  /// Whether connecting to `address`, or to the IPv4 address within it, would reach this host
  /// itself, whichever of its interfaces the address is on. Also when that cannot be told. Does not
  /// block.
  bool have(const asio::ip::address& address);

 private:
  explicit OwnAddresses(Fd socket) : socket_(std::move(socket)) {}

  bool ask(const asio::ip::address& address);
  bool answer_is_here();

  Fd socket_;  ///< NETLINK_ROUTE
  uint32_t question_ = 0;
};

}  // namespace hako::gate
