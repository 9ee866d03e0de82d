// Boxes that sleep and may be woken by traffic, as the API tells of them.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>

#include "base/async/task_group.h"
#include "base/async/turn_queue.h"
#include "base/token_bucket.h"
#include "gate/machine_table.h"
#include "rpc/peer.h"

namespace hako::gate {

/// Keeps a connection to the API's socket (see docs/internal-messages.md), and knows of a box what
/// decides whether a request may go in. While the API is away no box sleeps. Thread: one executor.
class Sleepers {
 public:
  static constexpr size_t kMostSleepers = 16384;
  static constexpr size_t kMostWakes = 64;     ///< boxes at once
  static constexpr size_t kMostWaiting = 256;  ///< requests for one box

  Sleepers(asio::any_io_executor executor, std::string socket_path)
      : socket_path_(std::move(socket_path)), tasks_(executor) {}

  /// Connects, and again whenever the connection ends, until cancelled.
  Task<void> run();

  /// A box that sleeps, with nothing behind it; null for others.
  MachineRef find(const std::string& box) const;
  /// Has it woken, once for all who ask meanwhile; by then the table has its machine. A failure is
  /// the answer to whoever asks within a second. not_found: it sleeps no longer;
  /// resource_exhausted: too many wait, or what the API says; timed_out; unavailable.
  Task<Result<void>> wake(std::string box);

 private:
  struct Waking {
    std::optional<Result<void>> outcome;
    TokenBucket::Time ended{};
    Condition changed;
    size_t waiting = 0;
  };

  void begin(const std::shared_ptr<rpc::Peer>& peer);
  Task<void> ask(std::string box, std::shared_ptr<Waking> waking);
  Task<Result<rpc::Payload>> take_add(rpc::Payload payload);
  Task<Result<rpc::Payload>> take_remove(rpc::Payload payload);
  Result<void> add(const boost::json::object& body);

  std::string socket_path_;
  TaskGroup tasks_;
  std::map<std::string, MachineRef> sleeping_;
  std::map<std::string, std::shared_ptr<Waking>> wakes_;  ///< under way, or failed a moment ago
  std::shared_ptr<rpc::Peer> api_;
};

}  // namespace hako::gate
