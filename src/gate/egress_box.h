// The way out of one machine: its sockets, its policy and what is open just now.
#pragma once

#include <set>

#include "gate/body_room.h"
#include "gate/broker_link.h"
#include "gate/dns_sockets.h"
#include "gate/egress_records.h"
#include "gate/machine_table.h"
#include "gate/names.h"
#include "gate/own_addresses.h"
#include "gate/passage.h"
#include "gate/resolver.h"
#include "gate/splice.h"
#include "tls/client.h"

namespace hako::gate {

/// Where what a guest sends out arrives: sockets of its namespace that take every destination.
struct EgressSockets {
  Fd listener;  ///< TCP; what a connection was meant for is its local address
  Fd dns;       ///< UDP port 53
};

/// What all boxes share.
struct EgressCommons {
  MachineTable& table;
  Resolver& resolver;
  EgressRecords& records;
  OwnAddresses& own;
  BrokerLink& broker;
  tls::Client& upstream_tls;  ///< for connections that the gate encrypts itself
  PipePool pipes{};
  BodyRoom bodies{};
  size_t most_open = 0;         ///< passages of all boxes
  size_t open = 0;              ///< passages of all boxes
};

/// Until it has a policy nothing passes. Thread: one executor.
class EgressBox : public std::enable_shared_from_this<EgressBox> {
 public:
  /// Open at once in one box when its policy sets no limit, and at most.
  static constexpr size_t kMostOpen = 4096;
  static constexpr int kMostResolving = 8;
  static constexpr size_t kMostSpares = 8;

  EgressBox(asio::any_io_executor executor, EgressCommons& commons, std::string machine);

  /// Takes connections and questions from `sockets` from now on, instead of those it had. What is
  /// open goes on.
  void listen(EgressSockets sockets);
  /// Resets what `policy` does not allow before it returns. `box`: whose decisions they are.
  void set_policy(std::string box, policy::EgressPolicy policy);
  /// Resets everything and listens no more. stop() then waits for all of it to end.
  void close();
  Task<void> stop();
  /// Resets what has been idle for too long.
  void cut_idle();
  /// Records what was moved since the last time.
  void tell_moved();

  /// The secrets of the box are others now.
  void secrets_changed();

  // For its passages.
  const std::string& id() const { return box_; }
  EgressCommons& commons() { return commons_; }
  BoxTraffic& traffic() { return traffic_; }
  Names& names() { return names_; }
  const policy::EgressPolicy& policy() const { return policy_; }
  /// policy::may_connect(), and once there is an address, whether it is not this host's own.
  policy::Decision may_connect(const policy::Destination& destination) const;
  /// Errors: those of Resolver. Of one box only some are asked for at once; others wait.
  Task<Result<Addresses>> resolve(std::string name);
  std::vector<uint8_t> answer(std::span<const uint8_t> question);
  void record(EgressRecord record);
  /// The number of one that is allowed, never given twice. Of this box alone: a count over all boxes
  /// would tell each what the others do.
  uint64_t next_connection() { return ++last_connection_; }
  /// A connection to a server that the gate speaks to for the box, left over by an earlier request a
  /// moment ago; nothing if there is none.
  std::optional<http::Client> take_spare(const std::string& name, uint16_t port);
  void keep_spare(const std::string& name, uint16_t port, http::Client client);
  void enter(Passage& passage);
  void leave(Passage& passage);

 private:
  Task<void> accept_all(SharedSocket listener);
  /// Whether the connection is let in: what is over a limit is reset.
  bool take(Fd connection);
  static Task<void> pass(std::shared_ptr<EgressBox> box, http::Stream client);
  std::optional<policy::Decision> over_limit();
  void note_over_limit(const policy::Decision& decision);

  asio::any_io_executor executor_;
  EgressCommons& commons_;
  std::string machine_, box_;
  policy::EgressPolicy policy_;
  BoxTraffic traffic_;
  int64_t told_ = 0;  ///< bytes of it that are in records
  Names names_;
  TokenBucket connects_, questions_;
  TurnQueue resolving_{kMostResolving};
  SharedSocket listener_, dns_;
  std::set<Passage*> passages_;
  struct Spare {
    std::string name;
    uint16_t port;
    http::Client client;
    std::chrono::steady_clock::time_point since;
  };
  std::vector<Spare> spares_;
  bool closed_ = false;
  uint64_t last_connection_;
  TaskGroup tasks_;  // goes first: its tasks refer to all of the above
};

}  // namespace hako::gate
