// Connections into a guest.
#pragma once

#include "gate/machine_table.h"

namespace hako::gate {

/// Sends a reset over a connected TCP socket, or gives up connecting; whoever waits on it wakes.
void reset_socket(int fd);

/// A connection into a guest. While it exists its machine knows it, and resets it when removed.
class GuestConnection {
 public:
  GuestConnection(MachineRef machine, http::Stream stream, bool reused);
  GuestConnection(MachineRef machine, http::Client client, bool reused);
  GuestConnection(GuestConnection&& other) noexcept = default;
  GuestConnection& operator=(GuestConnection&&) = delete;

  http::Client& client() { return client_; }
  /// It has carried a request before: the guest may be closing it just now.
  bool reused() const { return reused_; }
  const MachineRef& machine() const { return mark_.machine; }

  /// From now on it ends with the grant that has let in what it carries.
  void go_on_by(Admission admission);

  /// Keeps the connection for a later request, if it can carry one.
  static void keep(GuestConnection connection);

 private:
  struct Mark {
    Mark(MachineRef machine, int fd);
    Mark(Mark&& other) noexcept;
    ~Mark();
    void release();
    MachineRef machine;
    int fd;
  };
  bool reused_;
  http::Client client_;
  Mark mark_;  // goes before the socket it names is closed
};

/// How often and how patiently to knock.
struct DialPlan {
  uint16_t port;
  int tries = 1;           ///< further ones only while the connection is refused
  Duration patience{};     ///< of each try
  Duration first_pause{};  ///< grows by itself with every try
  /// When the guest's address refuses, whether to ask for a service on its loopback address.
  bool loopback_too = false;
};

/// unavailable: refused, or the machine has gone; timed_out; those of take_socket().
/// A socket that did not get through goes back to the stock.
Task<Result<GuestConnection>> dial(MachineTable& table, MachineRef machine, DialPlan plan);

/// A connection to the guest's daemon: a kept one, or else a new one.
Task<Result<GuestConnection>> daemon_connection(MachineTable& table, MachineRef machine,
                                                Duration patience);

}  // namespace hako::gate
