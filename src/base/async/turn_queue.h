// Turn-taking between coroutines.
#pragma once

#include <memory>
#include <vector>

#include "base/async/task.h"

namespace hako {

/// Lets `turns` coroutines at a time through, in order of arrival: what a mutex (or, with more
/// turns, a semaphore) is to threads. Thread: one executor.
class TurnQueue {
  struct State;

 public:
  explicit TurnQueue(int turns = 1);

  /// Held while it is one's turn; passes the turn on at the end.
  class Turn {
   public:
    explicit Turn(std::shared_ptr<State> state) : state_(std::move(state)) {}
    Turn(Turn&&) noexcept = default;
    Turn& operator=(Turn&&) = delete;
    ~Turn();

   private:
    std::shared_ptr<State> state_;
  };

  /// Waits for the turn. Cancel: safe, the place in the queue is given up.
  Task<Turn> take();

 private:
  struct Waiter;
  /// Shared with turns and waiters: when the loop is torn down they may outlive the queue.
  std::shared_ptr<State> state_;
};

/// Lets any number of coroutines wait until something has changed. Thread: one executor.
class Condition {
 public:
  /// Waits for the next notify_all(), or throws operation_aborted when cancelled.
  Task<void> wait();
  void notify_all();

 private:
  std::vector<std::shared_ptr<asio::steady_timer>> waiting_;
};

}  // namespace hako
