// Paused sandboxes that traffic brings back, as the gates are told of them.
#pragma once

#include <boost/json.hpp>

#include <functional>
#include <map>
#include <string>

#include "base/async/task.h"
#include "base/fd.h"
#include "base/result.h"
#include "rpc/link.h"
#include "store/store.h"

namespace hako::api {

/// A gate knows which requests it would let into a sandbox that sleeps, and asks to have it woken for
/// those alone: what nobody may reach, and what is not there, costs us nothing. Messages are in
/// docs/internal-messages.md. Thread: one executor.
class Sleepers {
 public:
  /// Brings it back; errors are fit for the user.
  using Wake = std::function<Task<Result<void>>(std::string box)>;

  explicit Sleepers(Wake wake) : wake_(std::move(wake)) {}

  /// What its record says now: it sleeps, or it does not.
  void know(const store::SandboxRecord& record);
  void forget(const std::string& box);

  /// Serves the gates that connect, until cancelled. `gate_uid`: as whom they run.
  Task<void> serve(Fd listener, uid_t gate_uid);

 private:
  bool welcome(rpc::Peer& gate);
  Task<Result<rpc::Payload>> wake(rpc::Payload payload);

  Wake wake_;
  std::map<std::string, boost::json::object> sleeping_;  ///< what gates are told of each
  rpc::Peers gates_;
};

}  // namespace hako::api
