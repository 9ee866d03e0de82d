// The gate's connection with the node, whose orders it takes.
#pragma once

#include "gate/access_log.h"
#include "gate/egress.h"
#include "gate/guest_caller.h"
#include "rpc/peer.h"
#include "tls/server.h"

namespace hako::gate {

/// Keeps a connection to the node's socket and serves what the node asks (see
/// docs/internal-messages.md). The machines stay while it is away.
class NodeLink {
 public:
  /// `broker` and `upstream_tls` are for connections that the gate looks into. `tls` gets the
  /// certificate that the node hands over. `resolvers` are asked for the names that boxes connect
  /// to, `own` for the addresses that they may not.
  NodeLink(asio::any_io_executor executor, std::string socket_path, tls::Server& tls,
           std::vector<DnsServer> resolvers, OwnAddresses own, BrokerLink& broker,
           tls::Client& upstream_tls);

  MachineTable& table() { return table_; }
  AccessLog& access() { return access_; }
  /// Connects, and again whenever the connection ends, until cancelled.
  Task<void> run();

 private:
  using Answer = Task<Result<rpc::Payload>>;

  void begin(const std::shared_ptr<rpc::Peer>& peer);
  Task<void> forget_unannounced(uint64_t epoch);
  Task<Result<std::vector<Fd>>> ask_for_sockets(std::string machine, int count);
  void take_orders(rpc::Peer& peer);
  /// Sends records as `method`.
  SendRecords teller(const char* method);

  Answer add(rpc::Payload order);
  Answer remove(rpc::Payload order);
  Answer add_sockets(rpc::Payload order);
  Answer publish(rpc::Payload order);
  Answer change_egress(rpc::Payload order);
  Answer wait_ready(rpc::Payload order);
  Answer init(rpc::Payload order);
  Answer freeze(rpc::Payload order);
  Answer thaw(rpc::Payload order);
  Answer exec(rpc::Payload order);
  Answer quiesce(rpc::Payload order);
  Answer certificate(rpc::Payload order);

  /// The machine an order names.
  Result<MachineRef> machine_of(const boost::json::object& body) const;

  std::string socket_path_;
  tls::Server& tls_;
  TaskGroup tasks_;
  MachineTable table_;
  GuestCaller guests_;
  AccessLog access_;
  Egress egress_;
  std::shared_ptr<rpc::Peer> peer_;
};

}  // namespace hako::gate
