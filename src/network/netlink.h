// The little netlink that slots need: requests with acknowledgement, and dumps.
#pragma once

#include <linux/netlink.h>

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "base/fd.h"

namespace hako::network {

/// One netlink message under construction.
class NetlinkMessage {
 public:
  NetlinkMessage(uint16_t type, uint16_t flags);

  /// The fixed part after the header, or any plain struct.
  template <class T>
  NetlinkMessage& add(const T& part) {
    append(&part, sizeof part);
    return *this;
  }
  NetlinkMessage& attribute(uint16_t type, const void* data, size_t size);
  NetlinkMessage& attribute(uint16_t type, uint32_t value) {
    return attribute(type, &value, sizeof value);
  }
  /// With the terminating zero, as the kernel wants its strings.
  NetlinkMessage& attribute(uint16_t type, const std::string& text) {
    return attribute(type, text.c_str(), text.size() + 1);
  }
  /// Header and content, with the length filled in.
  const std::string& bytes();

 private:
  void append(const void* data, size_t size);
  std::string bytes_;
};

/// A netlink socket of the namespace in which it was opened.
class Netlink {
 public:
  static Result<Netlink> open(int protocol);

  /// Sends one message that asks for acknowledgement. `what` names it in errors.
  Result<void> request(NetlinkMessage message, std::string_view what);
  /// Sends a dump request; `each` gets every answer's payload (after the netlink header).
  Result<void> dump(NetlinkMessage message, std::string_view what,
                    const std::function<void(std::string_view)>& each);

 private:
  explicit Netlink(Fd socket) : socket_(std::move(socket)) {}
  Result<void> send(std::string_view bytes, std::string_view what);
  Fd socket_;
};

/// Calls `each` for every attribute in `attributes`, with its type (without flags) and content.
void for_each_attribute(std::string_view attributes,
                        const std::function<void(uint16_t, std::string_view)>& each);
/// The content of an attribute as a number in host order; 0 if it has another size.
uint32_t as_u32(std::string_view content);

}  // namespace hako::network
