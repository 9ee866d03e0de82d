// Background tasks with an owner.
#pragma once

#include <list>
#include <string>

#include "base/async/task.h"

namespace hako {

/// Owns tasks that run beside their creator. Nothing in this project is spawned any other way.
/// stop() must have completed before destruction while the executor still runs.
/// Thread: all calls on the executor's thread.
class TaskGroup {
 public:
  explicit TaskGroup(asio::any_io_executor executor) : executor_(std::move(executor)) {}
  TaskGroup(const TaskGroup&) = delete;
  TaskGroup& operator=(const TaskGroup&) = delete;

  /// Starts `task`. An exception that leaves it is logged under `name` and ends only this task.
  /// After stop() has begun the task is dropped unstarted.
  void spawn(std::string name, Task<void> task);
  /// Cancels all tasks and waits for them to end. New tasks are refused from now on.
  Task<void> stop();
  /// Asks all tasks to end without waiting.
  void cancel();

  size_t size() const { return running_.size(); }

 private:
  struct Running {
    std::string name;
    asio::cancellation_signal cancel;
  };

  asio::any_io_executor executor_;
  std::list<std::shared_ptr<Running>> running_;
  bool stopping_ = false;
  std::shared_ptr<asio::steady_timer> emptied_;
};

}  // namespace hako
