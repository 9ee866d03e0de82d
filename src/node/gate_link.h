// The node's side of its connection with the gate.
#pragma once

#include <boost/json.hpp>

#include <functional>
#include <memory>

#include "base/async/task_group.h"
#include "network/slot.h"
#include "node/box_records.h"
#include "rpc/peer.h"

namespace hako::node {

/// Everything the node asks of guests it asks through the gate, which alone exchanges bytes with
/// them. At most one gate is connected; a new connection replaces the old. Calls wait a little for
/// a gate that is reconnecting, then fail with `unavailable`, unless they say otherwise.
/// docs/internal-messages.md describes the messages.
class GateLink {
 public:
  /// Gives `count` sockets inside the namespace of `machine`.
  using SocketSource =
      std::function<Result<std::vector<Fd>>(const std::string& machine, int count)>;
  /// Told of what has happened at boxes, as the gate says it.
  using Recorded = std::function<void(RecordKind kind, BoxRecords records)>;
  /// Told whenever a gate has connected: adds all machines and publishes all boxes again.
  using Connected = std::function<Task<void>()>;

  GateLink(SocketSource sockets, Recorded recorded, Connected connected);

  /// Serves one connection from the gate until it ends.
  Task<void> serve(Fd connection);
  bool connected() const { return peer_ != nullptr; }

  Task<Result<void>> add(const std::string& machine, network::EgressSockets egress,
                         std::vector<Fd> sockets);
  Task<void> remove(const std::string& machine);
  Task<Result<void>> wait_ready(const std::string& machine, std::chrono::milliseconds deadline);
  Task<Result<void>> init(const std::string& machine, boost::json::object init,
                          std::chrono::milliseconds deadline);
  /// Stops every program in the guest and writes its disk out, so that the machine can be copied;
  /// in the copy nothing moves before its init(). Its connections stay as they are. Up to 12 s, of
  /// which programs stand still for at most 2. failed_precondition, unsupported (a guest from
  /// before there was this): nothing is stopped. After any other error nobody knows: thaw().
  Task<Result<void>> freeze(const std::string& machine);
  /// Lets them go on. A guest that is not frozen: success. To be said again until it succeeds, and
  /// of every box when this daemon starts: a guest does not thaw by itself. unsupported: see above.
  Task<Result<void>> thaw(const std::string& machine);

  struct Command {
    std::string cmd;
    std::vector<std::string> args;
    std::string user;  ///< empty: the default user
    std::string cwd;   ///< empty: the default working directory
    boost::json::object envs;
  };
  struct ExecResult {
    int exit_code = -1;
    std::string output;  ///< hostile text, its end when it was longer than the limit
  };
  Task<Result<ExecResult>> exec(const std::string& machine, Command command,
                                std::chrono::milliseconds deadline, size_t output_limit);
  Task<Result<void>> quiesce(const std::string& machine);
  Task<Result<void>> publish(const std::string& machine, const std::string& box,
                             const std::string& access_token, const boost::json::object& ingress,
                             const boost::json::object& egress);
  /// What the machine may reach from now on, and who may reach it if that changes, too; returns when
  /// every connection that this forbids has been cut. A gate that has not been told of the machine yet lets nothing of it pass: that is
  /// success. Does not wait for a gate: unavailable. timed_out after 10 s.
  Task<Result<void>> set_egress(const std::string& machine, const boost::json::object& egress,
                                const std::optional<boost::json::object>& ingress = std::nullopt);
  /// The certificate with its chain, and the key, both PEM. invalid_argument if they do not fit.
  Task<Result<void>> use_certificate(const std::string& certificate, const std::string& key);

 private:
  void take_records(rpc::Peer& peer, const char* method, RecordKind kind);
  Task<Result<rpc::Payload>> call(std::string method, rpc::Payload payload, Duration deadline);

  SocketSource sockets_;
  Recorded recorded_;
  Connected on_connected_;
  std::shared_ptr<rpc::Peer> peer_;
};

}  // namespace hako::node
