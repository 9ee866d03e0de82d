// Two tasks side by side, until one has ended.
#pragma once

#include "base/async/task.h"

namespace hako::api {

namespace detail {

/// Ends well in any case: the operator below waits on for the other when one throws.
inline Task<void> keep_fault(Task<void> task, std::exception_ptr& fault) {
  try {
    co_await std::move(task);
  } catch (...) {
    fault = std::current_exception();
  }
}

}  // namespace detail

/// Runs both; when one has ended, cancels the other and waits for it. An exception of the one that
/// ended first passes through: operation_aborted when this was cancelled, and with it both.
inline Task<void> until_either_ends(Task<void> a, Task<void> b) {
  using namespace asio::experimental::awaitable_operators;
  std::exception_ptr of_a, of_b;
  auto run_a = detail::keep_fault(std::move(a), of_a);
  auto run_b = detail::keep_fault(std::move(b), of_b);
  auto first = co_await (std::move(run_a) || std::move(run_b));
  std::exception_ptr fault = first.index() == 0 ? of_a : of_b;
  if (fault) std::rethrow_exception(fault);
}

}  // namespace hako::api
