#include "base/async/lasting.h"

#include <unistd.h>

#include "base/async/cancellation.h"
#include "base/log.h"

namespace hako {
namespace {

constexpr auto kAgain = std::chrono::seconds(1);

void log_fault(const std::string& name, const std::exception_ptr& fault) {
  try {
    std::rethrow_exception(fault);
  } catch (const std::exception& error) {
    log_error("task_failed", {{"task", name}, {"error", error.what()}});
  } catch (...) {
    log_error("task_failed", {{"task", name}});
  }
}

}  // namespace

Task<void> lasting(std::string name, std::function<Task<void>()> make) {
  for (;;) {
    std::exception_ptr fault;
    try {
      auto task = make();
      co_await std::move(task);
      co_return;
    } catch (...) {
      fault = std::current_exception();
    }
    // Whoever ends by being cancelled says it so, also behind a shield, where the state no longer does.
    auto state = co_await asio::this_coro::cancellation_state;
    if (state.cancelled() != asio::cancellation_type::none || is_cancellation(fault))
      std::rethrow_exception(fault);
    log_fault(name, fault);
    co_await sleep_for(kAgain);
  }
}

Task<void> vital(std::string name, Task<void> task) {
  std::exception_ptr fault;
  try {
    co_await std::move(task);
    co_return;
  } catch (...) {
    fault = std::current_exception();
  }
  auto state = co_await asio::this_coro::cancellation_state;
  if (state.cancelled() != asio::cancellation_type::none || is_cancellation(fault))
    std::rethrow_exception(fault);
  log_fault(name, fault);
  ::_exit(1);
}

}  // namespace hako
