// The vocabulary of asynchronous code: coroutines on one Asio executor per process.
#pragma once

#include <boost/asio.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>

#include <chrono>
#include <exception>
#include <memory>
#include <optional>
#include <utility>

#include "base/result.h"

namespace hako {

namespace asio = boost::asio;

/// A coroutine. Starts when awaited; whoever awaits it owns it.
/// References passed to one must outlive its completion.
template <class T = void>
using Task = asio::awaitable<T>;

using Duration = std::chrono::steady_clock::duration;

/// Waits; ends early (throwing operation_aborted) when cancelled.
Task<void> sleep_for(Duration duration);

namespace detail {

template <class T>
Task<void> keep_outcome(Task<T> task, std::optional<T>& value, std::exception_ptr& fault) {
  try {
    value.emplace(co_await std::move(task));
  } catch (...) {
    fault = std::current_exception();
  }
}

}  // namespace detail

/// Runs `task`, which is cancelled when `limit` has passed; then the result is timed_out.
/// The task must react to cancellation (all Asio operations do): this call waits for it to end.
/// Exceptions of the task pass through.
template <class T>
Task<Result<T>> with_deadline(Duration limit, Task<Result<T>> task) {
  using namespace asio::experimental::awaitable_operators;
  std::optional<Result<T>> value;
  std::exception_ptr fault;
  auto run = detail::keep_outcome(std::move(task), value, fault);
  auto wait = sleep_for(limit);
  auto first = co_await (std::move(run) || std::move(wait));
  if (first.index() == 1 && !value) co_return Error(ErrorCode::timed_out, "deadline passed");
  if (fault) std::rethrow_exception(fault);
  co_return std::move(*value);
}

/// Runs `work` on `pool` and resumes here with what it returns. Cannot be cancelled: the caller
/// waits until the work is done. For calls that block (files, namespaces).
/// `work` must be a named object when awaited (see result.h on GCC 12).
template <class Work>
auto run_blocking(asio::thread_pool& pool, Work& work) -> Task<decltype(work())> {
  using T = decltype(work());
  auto executor = co_await asio::this_coro::executor;
  // Once on the pool the work always runs to its end, so cancelling must not abandon it.
  co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
  std::optional<T> value;
  std::exception_ptr fault;
  asio::steady_timer done(executor, asio::steady_timer::time_point::max());
  asio::post(pool, [&] {
    try {
      value.emplace(work());
    } catch (...) {
      fault = std::current_exception();
    }
    asio::post(executor, [&] { done.cancel(); });
  });
  boost::system::error_code ignored;
  co_await done.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  if (fault) std::rethrow_exception(fault);
  co_return std::move(*value);
}

}  // namespace hako
