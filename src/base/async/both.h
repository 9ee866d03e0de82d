// Two tasks side by side, both of which must succeed.
#pragma once

#include "base/async/task.h"

namespace hako {

namespace detail {

struct OneFailed {};

inline Task<void> keep_or_throw(Task<Result<void>> task, std::optional<Result<void>>& outcome) {
  outcome.emplace(co_await std::move(task));
  if (!*outcome) throw OneFailed();
}

}  // namespace detail

/// Runs both and waits for both; when one fails the other is cancelled, and the result is the error
/// of the one that failed first. Exceptions of the tasks pass through.
inline Task<Result<void>> both(Task<Result<void>> a, Task<Result<void>> b) {
  using namespace asio::experimental::awaitable_operators;
  std::optional<Result<void>> of_a, of_b;
  auto run_a = detail::keep_or_throw(std::move(a), of_a);
  auto run_b = detail::keep_or_throw(std::move(b), of_b);
  std::exception_ptr fault;
  try {
    co_await (std::move(run_a) && std::move(run_b));
  } catch (...) {
    // Also multiple_exceptions: whoever was cancelled throws, too, and leaves no outcome.
    fault = std::current_exception();
  }
  if (of_a && !*of_a) co_return std::move(*of_a);
  if (of_b && !*of_b) co_return std::move(*of_b);
  if (fault) std::rethrow_exception(fault);
  co_return ok();
}

}  // namespace hako
