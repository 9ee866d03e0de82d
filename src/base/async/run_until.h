// A task that somebody else can stop.
#pragma once

#include "base/async/task.h"

namespace hako {

/// Runs `task`, which is cancelled when `stop` has ended; nothing if that was before it had a
/// result. Both must react to cancellation: this call waits for them to end. Exceptions of `task`
/// pass through; `stop` throws none but by cancellation.
template <class T>
Task<std::optional<T>> run_until(Task<void> stop, Task<T> task) {
  using namespace asio::experimental::awaitable_operators;
  std::optional<T> value;
  std::exception_ptr fault;
  auto run = detail::keep_outcome(std::move(task), value, fault);
  auto first = co_await (std::move(run) || std::move(stop));
  if (first.index() == 0 && fault) std::rethrow_exception(fault);
  co_return std::move(value);
}

}  // namespace hako
