// A Linux network stack in the place of a slot's guest, to send from whatever a guest might.
#pragma once

#include <chrono>
#include <string>
#include <thread>

#include "network/namespace.h"
#include "network/slot.h"

namespace hako::test {

/// A namespace whose eth0 is joined to the slot's tap by a thread that carries frames both ways,
/// and set up as a guest's is. Throws std::runtime_error if that fails.
class GuestStack {
 public:
  explicit GuestStack(const network::Slot& slot);
  ~GuestStack();
  GuestStack(const GuestStack&) = delete;

  /// Runs `work`, which gives a Result, on a thread in the guest's namespace.
  template <class Work>
  auto inside(Work work) const {
    return network::in_namespace(netns_.get(), std::move(work));
  }
  /// A blocking socket of the guest that gives up after 3 s.
  Fd socket(int type, int protocol = 0) const;
  /// How a TCP connection of the guest ends: 0 if it stands, else the errno.
  int connect(const Fd& socket, const std::string& address, uint16_t port) const;

  /// Puts an IPv4 packet with this UDP datagram on the wire, whatever the guest's own kernel would
  /// think of its addresses. `to_all`: as a broadcast frame.
  void send_udp(const std::string& source, const std::string& target, uint16_t port,
                const std::string& text, bool to_all = false) const;
  /// Puts a frame of this type on the wire.
  void send_frame(uint16_t type, const std::string& content, bool to_all = false) const;

 private:
  void carry();

  Fd netns_, eth0_, tap_, stop_, wire_;
  std::thread carrier_;
};

}  // namespace hako::test
