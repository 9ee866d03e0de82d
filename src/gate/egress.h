// What leaves boxes: all of it goes through here, or nowhere.
#pragma once

#include "gate/egress_box.h"

namespace hako::gate {

/// The ways out of all machines. Thread: one executor.
class Egress {
 public:
  Egress(asio::any_io_executor executor, MachineTable& table, std::vector<DnsServer> resolvers,
         OwnAddresses own, BrokerLink& broker, tls::Client& upstream_tls, SendRecords send);

  /// Serves what comes to `sockets`, in place of those the machine had. invalid_argument: these are
  /// no such sockets.
  Result<void> listen(const std::string& machine, EgressSockets sockets);
  /// What the machine, which is `box` now, may reach from now on. Connections that `policy` does
  /// not allow have been reset when it returns.
  void set_policy(const std::string& machine, std::string box, policy::EgressPolicy policy);
  /// Resets all that is open, and takes no more.
  void remove(std::string machine);  // by value: it may name the entry that goes

  /// The secrets of `box` are others now; of all boxes, if it is empty.
  void secrets_changed(const std::string& box);

  /// Sends records and resets what is idle, until cancelled; then ends everything.
  Task<void> run();

 private:
  using BoxRef = std::shared_ptr<EgressBox>;

  EgressBox& box_of(const std::string& machine);
  Task<void> sweep();
  Task<void> tell_moved();
  static Task<void> retire(BoxRef box);

  asio::any_io_executor executor_;
  Resolver resolver_;
  EgressRecords records_;
  OwnAddresses own_;
  EgressCommons commons_;
  std::map<std::string, BoxRef> boxes_;
  TaskGroup tasks_;
};

}  // namespace hako::gate
