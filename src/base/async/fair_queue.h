// Turn-taking between groups of coroutines.
#pragma once

#include <memory>
#include <string>

#include "base/async/task.h"

namespace hako {

/// Lets a bounded number of coroutines through at a time. Each belongs to a group, and groups take
/// turns, however many each has waiting; within a group it goes by arrival. Thread: one executor.
class FairQueue {
  struct State;

 public:
  struct Limits {
    int turns = 1;             ///< held at the same time
    int turns_of_one = 1;      ///< of them by one group: what is left lets another in at once
    size_t waiting_of_one = 0; ///< of one group; further ones are refused
  };
  explicit FairQueue(Limits limits);

  /// Held while it is one's turn; passes the turn on at the end.
  class Turn {
   public:
    Turn(std::shared_ptr<State> state, std::string group)
        : state_(std::move(state)), group_(std::move(group)) {}
    Turn(Turn&&) noexcept = default;
    Turn& operator=(Turn&&) = delete;
    ~Turn();

   private:
    std::shared_ptr<State> state_;
    std::string group_;
  };

  /// Waits for a turn. resource_exhausted, at once, when `group` has as many waiting as it may.
  /// Cancel: safe, the place in the queue is given up.
  Task<Result<Turn>> take(std::string group);

  /// Of all groups, and of one.
  size_t waiting() const;
  size_t waiting_of(const std::string& group) const;

 private:
  struct Waiter;
  /// Shared with turns and waiters: when the loop is torn down they may outlive the queue.
  std::shared_ptr<State> state_;
};

}  // namespace hako
