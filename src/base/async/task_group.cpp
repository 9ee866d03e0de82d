#include "base/async/task_group.h"

#include "base/log.h"

namespace hako {

void TaskGroup::spawn(std::string name, Task<void> task) {
  if (stopping_) return;
  auto running = std::make_shared<Running>();
  running->name = std::move(name);
  running_.push_back(running);
  auto finished = [this, running](std::exception_ptr fault) {
    if (fault) {
      try {
        std::rethrow_exception(fault);
      } catch (const boost::system::system_error& error) {
        if (error.code() != asio::error::operation_aborted)
          log_error("task_failed", {{"task", running->name}, {"error", error.what()}});
      } catch (const std::exception& error) {
        log_error("task_failed", {{"task", running->name}, {"error", error.what()}});
      }
    }
    running_.remove(running);
    if (running_.empty() && emptied_) emptied_->cancel();
  };
  asio::co_spawn(executor_, std::move(task),
                 asio::bind_cancellation_slot(running->cancel.slot(), std::move(finished)));
}

void TaskGroup::cancel() {
  auto tasks = running_;  // emitting may finish tasks and change the list
  for (auto& task : tasks) task->cancel.emit(asio::cancellation_type::terminal);
}

Task<void> TaskGroup::stop() {
  stopping_ = true;
  co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
  cancel();
  while (!running_.empty()) {
    emptied_ = std::make_shared<asio::steady_timer>(executor_, std::chrono::milliseconds(100));
    boost::system::error_code ignored;
    co_await emptied_->async_wait(asio::redirect_error(asio::use_awaitable, ignored));
    // A task that was between two waits when the signal came did not see it: say it again.
    cancel();
  }
}

}  // namespace hako
