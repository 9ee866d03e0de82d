#include "base/async/task_group.h"

#include "base/async/cancellation.h"
#include "base/log.h"

namespace hako {

TaskGroup::Handle TaskGroup::spawn(std::string name, Task<void> task) {
  if (stopping_) return {};
  auto running = std::make_shared<Running>();
  running->name = std::move(name);
  state_->running.push_back(running);
  auto finished = [state = state_, running](std::exception_ptr fault) {
    if (fault && !is_cancellation(fault)) {
      try {
        std::rethrow_exception(fault);
      } catch (const std::exception& error) {
        log_error("task_failed", {{"task", running->name}, {"error", error.what()}});
      }
    }
    state->running.remove(running);
    if (state->running.empty() && state->emptied) state->emptied->cancel();
  };
  asio::co_spawn(executor_, std::move(task),
                 asio::bind_cancellation_slot(running->cancel.slot(), std::move(finished)));
  return Handle(running);
}

void TaskGroup::Handle::cancel() {
  if (auto task = task_.lock()) task->cancel.emit(asio::cancellation_type::terminal);
}

void TaskGroup::cancel() {
  auto tasks = state_->running;  // emitting may finish tasks and change the list
  for (auto& task : tasks) task->cancel.emit(asio::cancellation_type::terminal);
}

Task<void> TaskGroup::stop() {
  stopping_ = true;
  // A cancellation that comes while waiting is the caller's to see, afterwards.
  bool throws_if_cancelled = co_await asio::this_coro::throw_if_cancelled();
  co_await asio::this_coro::throw_if_cancelled(false);
  cancel();
  while (!state_->running.empty()) {
    auto timer = std::make_shared<asio::steady_timer>(executor_, std::chrono::milliseconds(100));
    state_->emptied = timer;
    boost::system::error_code ignored;
    co_await timer->async_wait(asio::bind_cancellation_slot(
        asio::cancellation_slot(), asio::redirect_error(asio::use_awaitable, ignored)));
    // A task that was between two waits when the signal came did not see it: say it again.
    cancel();
  }
  co_await asio::this_coro::throw_if_cancelled(throws_if_cancelled);
}

}  // namespace hako
