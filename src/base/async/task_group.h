// Background tasks with an owner.
#pragma once

#include <list>
#include <memory>
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

  /// One task of a group, which it may outlive.
  class Handle;

  /// Starts `task`. An exception that leaves it is logged under `name` and ends only this task.
  /// After stop() has begun the task is dropped unstarted. The handle need not be kept.
  Handle spawn(std::string name, Task<void> task);
  /// Cancels all tasks and waits for them to end. New tasks are refused from now on. Not cancelled
  /// itself. In a coroutine that may have been cancelled, shield_from_cancellation() first: else
  /// this throws before it has done anything.
  Task<void> stop();
  /// Asks all tasks to end without waiting.
  void cancel();

  size_t size() const { return state_->running.size(); }

 private:
  struct Running {
    std::string name;
    asio::cancellation_signal cancel;
  };

  /// Shared with the tasks' ends, which may come after this object's when the loop is torn down.
  struct State {
    std::list<std::shared_ptr<Running>> running;
    std::shared_ptr<asio::steady_timer> emptied;
  };

  asio::any_io_executor executor_;
  std::shared_ptr<State> state_ = std::make_shared<State>();
  bool stopping_ = false;
};

class TaskGroup::Handle {
 public:
  Handle() = default;
  /// Asks the task to end without waiting. Nothing if it has ended.
  void cancel();

 private:
  friend class TaskGroup;
  explicit Handle(std::weak_ptr<Running> task) : task_(std::move(task)) {}
  std::weak_ptr<Running> task_;
};

}  // namespace hako
