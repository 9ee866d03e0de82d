// What gates are told about the connections that they terminate: keys, placeholders, values.
#pragma once

#include <boost/json.hpp>

#include <functional>
#include <string>
#include <vector>

#include "base/async/task.h"
#include "base/fd.h"
#include "base/result.h"
#include "rpc/link.h"

namespace hako::api {

/// The api's side of broker.sock. Values of secrets go from here to a gate, by its question about
/// one box, and nowhere else: the node keeps none of it, and no disk does. Messages are in
/// docs/internal-messages.md. Thread: one executor.
class InterceptLink {
 public:
  /// What a gate needs for the box, the body of the answer to intercept.get. not_found: there is no
  /// such box, or nothing of it is intercepted.
  using Material = std::function<Task<Result<boost::json::object>>(std::string box)>;
  /// Adds methods of others to a gate that has connected, before it is served.
  using Extend = std::function<void(rpc::Peer& gate)>;

  explicit InterceptLink(Material material) : material_(std::move(material)) {}

  /// Before serve().
  void extend(Extend extend) { extensions_.push_back(std::move(extend)); }

  /// What a gate has been given for these is not to be used for anything new.
  void changed(const std::vector<std::string>& boxes);
  void all_changed();

  /// Serves the gates that connect, until cancelled. `gate_uid`: as whom they run.
  Task<void> serve(Fd listener, uid_t gate_uid);

 private:
  Task<Result<rpc::Payload>> get(rpc::Payload payload);

  Material material_;
  std::vector<Extend> extensions_;
  rpc::Peers gates_;
};

}  // namespace hako::api
