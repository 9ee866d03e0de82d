// Network slots made ahead of their use.
#pragma once

#include <deque>
#include <set>

#include "base/async/task_group.h"
#include "base/async/turn_queue.h"
#include "network/slot.h"

namespace hako::node {

/// Hands out fresh slots and disposes of used ones; a slot is never used twice, so nothing of one
/// box's network state can reach another. Keeps a few ready, made in the background.
/// Thread: the node's executor; namespaces are made on `blocking`.
class SlotPool {
 public:
  SlotPool(asio::any_io_executor executor, asio::thread_pool& blocking, std::string directory,
           network::SlotLimits limits, int most, int ready);

  /// Starts making slots ready. `taken`: numbers that machines of an earlier run still hold.
  void start(const std::set<int>& taken);
  Task<void> stop();

  /// no_capacity when all are in use.
  Task<Result<network::Slot>> acquire();
  /// Opens the slot of an adopted machine. Its number must have been in `taken`.
  Result<network::Slot> open(int number);
  /// Removes the namespace; its number becomes free.
  Task<void> dispose(network::Slot slot);

  /// Whether the slot is kept ready, or is being made or removed just now.
  bool is_ours(int number) const;
  /// Removes a slot that is nobody's, one that was given out and forgotten included.
  Task<void> remove_stray(int number);

 private:
  Task<Result<network::Slot>> make();
  Task<void> keep_ready();

  asio::thread_pool& blocking_;
  std::string directory_;
  network::SlotLimits limits_;  ///< of every slot
  int most_;
  size_t wanted_ready_;
  std::set<int> used_;
  std::set<int> changing_;  ///< being made or removed
  std::deque<network::Slot> ready_;
  Condition low_;
  TaskGroup tasks_;
};

}  // namespace hako::node
