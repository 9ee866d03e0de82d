// Turn-taking between coroutines.
#pragma once

#include <deque>

#include "base/async/task.h"

namespace hako {

/// Lets one coroutine at a time through, in order of arrival: what a mutex is to threads.
/// Thread: one executor.
class TurnQueue {
 public:
  /// Held while it is one's turn; passes the turn on at the end.
  class Turn {
   public:
    explicit Turn(TurnQueue* queue) : queue_(queue) {}
    Turn(Turn&& other) noexcept : queue_(std::exchange(other.queue_, nullptr)) {}
    Turn& operator=(Turn&&) = delete;
    ~Turn() {
      if (queue_) queue_->pass_on();
    }

   private:
    TurnQueue* queue_;
  };

  /// Waits for the turn. Cancel: safe, the place in the queue is given up.
  Task<Turn> take();
  bool busy() const { return busy_; }

 private:
  friend class Turn;
  struct Waiter {
    explicit Waiter(asio::any_io_executor executor)
        : timer(executor, asio::steady_timer::time_point::max()) {}
    asio::steady_timer timer;
    bool granted = false;
  };
  void pass_on();

  bool busy_ = false;
  std::deque<std::shared_ptr<Waiter>> waiting_;
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
