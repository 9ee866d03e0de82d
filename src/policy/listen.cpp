#include "policy/listen.h"

#include <boost/asio/ip/address.hpp>

namespace hako::policy {
namespace {

namespace ip = boost::asio::ip;

bool is_loopback(const ip::address& address) {
  if (address.is_v6() && address.to_v6().is_v4_mapped()) {
    return ip::make_address_v4(ip::v4_mapped, address.to_v6()).is_loopback();
  }
  return address.is_loopback();
}

}  // namespace

bool is_loopback(std::string_view address) {
  boost::system::error_code bad;
  auto parsed = ip::make_address(address, bad);
  return !bad && is_loopback(parsed);
}

Decision may_listen(const Listening& server) {
  std::string shown(server.address.substr(0, 64));
  std::string section(server.section);
  boost::system::error_code bad;
  auto parsed = ip::make_address(server.address, bad);
  if (bad) {
    return Decision::deny("listen.address", "\"" + shown + "\" is not an IP address",
                          "write a numeric address, such as 127.0.0.1");
  }
  if (is_loopback(parsed)) {
    return Decision::allow("listen.loopback", shown + " is reachable from this machine only");
  }
  if (server.emulated && !server.allow_emulated) {
    return Decision::deny(
        "listen.emulated",
        "boxes are only emulated here, and " + shown + " can be reached from other machines",
        "listen on 127.0.0.1, use a machine with KVM, or set [engine] "
        "allow_emulated_beyond_loopback = true");
  }
  if (!server.encrypted && !server.allow_plain) {
    return Decision::deny(
        "listen.plain",
        "without TLS keys and data would pass in the clear, and " + shown +
            " can be reached from other machines",
        "listen on 127.0.0.1, set [" + section + "] certificate and key, or, where something "
            "else encrypts, [" + section + "] allow_plain_beyond_loopback = true");
  }
  if (server.emulated) {
    return Decision::allow("listen.consent",
                           "the operator allows emulated boxes to be reached from other machines");
  }
  return Decision::allow("listen.hardware", "boxes are separated by hardware virtualization");
}

}  // namespace hako::policy
