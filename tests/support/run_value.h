// Runs a coroutine from a test and returns its value.
#pragma once

#include "base/async/task.h"

namespace hako::test {

/// Runs `loop` until `task` has ended; other work of the loop goes on meanwhile and may be left
/// unfinished. Exceptions pass through.
template <class T>
T run_value(asio::io_context& loop, Task<T> task) {
  std::optional<T> value;
  std::exception_ptr fault;
  bool done = false;
  asio::co_spawn(loop, hako::detail::keep_outcome(std::move(task), value, fault),
                 [&done](std::exception_ptr) { done = true; });
  loop.restart();
  while (!done) loop.run_one();
  if (fault) std::rethrow_exception(fault);
  return std::move(*value);
}

template <class T>
T run_value(Task<T> task) {
  asio::io_context loop;
  return run_value(loop, std::move(task));
}

}  // namespace hako::test
