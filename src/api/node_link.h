// The connection to the node of this machine.
#pragma once

#include <boost/json.hpp>

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/async/task_group.h"
#include "base/result.h"
#include "rpc/peer.h"

namespace hako::api {

/// What the node says about itself when the connection is made.
struct NodeInfo {
  std::string isolation;  ///< "hardware" or "emulated"
  std::string engine;
  std::string accel_reason;
};

/// A box as the node lists it. Times are Unix milliseconds.
struct NodeBox {
  std::string id;
  int64_t started_ms = 0;
  int64_t ends_ms = 0;
  int vcpus = 0;
  int memory_mib = 0;
  int disk_mib = 0;
  std::string isolation;
};

/// A state of a box that the node keeps.
struct NodeCheckpoint {
  std::string id;
  std::string tenant;
  bool with_memory = true;
  int64_t created_ms = 0;
};

/// Keeps a connection to the node's socket, and makes it anew whenever it is lost.
/// Thread: one executor.
class NodeLink {
 public:
  struct Events {
    /// Each time the node has answered on a new connection. The link counts as connected from then
    /// on. Cancelled when the connection ends.
    std::function<Task<void>(NodeInfo)> connected;
    /// A box has ended. In the order in which the node says so. With the reason "paused", `detail` is
    /// the checkpoint that it is in.
    std::function<Task<void>(std::string box, std::string reason, std::string detail)> gone;
    /// What the gate has decided about connections out of a box; each record is checked by whoever
    /// takes it.
    std::function<void(const std::string& box, const boost::json::array& records)> egress;
    /// The same of what was done in a box.
    std::function<void(const std::string& box, const boost::json::array& records)> access;
  };

  NodeLink(std::string socket_path, Events events)
      : path_(std::move(socket_path)), events_(std::move(events)) {}

  /// Until cancelled.
  Task<void> run();
  bool connected() const { return peer_ != nullptr; }
  /// Asks the node. Errors: unavailable at once while the node is away; timed_out; the node's own.
  Task<Result<boost::json::object>> call(std::string method, boost::json::object body,
                                         Duration deadline);
  /// box.list, checked. corrupted when the answer is not one.
  Task<Result<std::vector<NodeBox>>> list_boxes();
  /// checkpoint.list, checked. unsupported by a node that keeps none.
  Task<Result<std::vector<NodeCheckpoint>>> list_checkpoints();
  /// node.info with all its members.
  Task<Result<boost::json::object>> info();

 private:
  /// Whether the node has answered on this connection before it ended.
  Task<bool> serve_one(Fd connection);
  Task<void> greet(std::shared_ptr<rpc::Peer> peer);
  Task<Result<rpc::Payload>> take_gone(rpc::Payload payload);
  Task<Result<rpc::Payload>> take_egress(rpc::Payload payload);
  Task<Result<rpc::Payload>> take_access(rpc::Payload payload);

  std::string path_;
  Events events_;
  std::shared_ptr<rpc::Peer> peer_;  ///< set while the node answers
};

}  // namespace hako::api
