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

/// `co_await shield_from_cancellation();` before an asynchronous cleanup: once a coroutine has been
/// cancelled each further co_await throws, that of the cleanup included. From then on the coroutine
/// can no longer be cancelled, so let only bounded work follow.
inline auto shield_from_cancellation() {
  return asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
}

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

namespace detail {

inline Task<void> keep_outcome(Task<void> task, std::exception_ptr& fault) {
  try {
    co_await std::move(task);
  } catch (...) {
    fault = std::current_exception();
  }
}

/// Runs `task` as a coroutine of its own, which the caller's cancellation does not reach, and waits.
inline Task<void> run_apart(Task<void> task) {
  auto executor = co_await asio::this_coro::executor;
  auto begin = [&task, executor](auto handler) {
    auto done = [handler = std::move(handler)](std::exception_ptr) mutable {
      std::move(handler)();
    };
    asio::co_spawn(executor, std::move(task),
                   asio::bind_cancellation_slot(asio::cancellation_slot(), std::move(done)));
  };
  auto finished =
      asio::async_initiate<const asio::use_awaitable_t<>, void()>(begin, asio::use_awaitable);
  co_await std::move(finished);
}

}  // namespace detail

/// Runs `task` to its end, whatever happens to the caller: a cancellation meanwhile shows at the
/// caller's next co_await. For work that must not be left half-done; let it be bounded.
/// Exceptions of the task pass through.
template <class T>
Task<T> run_to_end(Task<T> task) {
  std::optional<T> value;
  std::exception_ptr fault;
  auto keep = detail::keep_outcome(std::move(task), value, fault);
  co_await detail::run_apart(std::move(keep));
  if (fault) std::rethrow_exception(fault);
  co_return std::move(*value);
}

inline Task<void> run_to_end(Task<void> task) {
  std::exception_ptr fault;
  auto keep = detail::keep_outcome(std::move(task), fault);
  co_await detail::run_apart(std::move(keep));
  if (fault) std::rethrow_exception(fault);
}

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

/// Runs `work` on `pool` and resumes here with what it returns. Cannot be cancelled once begun: the
/// caller waits until the work is done, and a cancellation meanwhile shows at its next co_await.
/// For calls that block (files, namespaces).
/// The pool's threads end before the loop does that this was called on: they have told it, and may not
/// be done with that.
/// `work` must be a named object when awaited (see result.h on GCC 12).
template <class Work>
auto run_blocking(asio::thread_pool& pool, Work& work) -> Task<decltype(work())> {
  using T = decltype(work());
  std::optional<T> value;
  std::exception_ptr fault;
  auto run = [&] {
    try {
      value.emplace(work());
    } catch (...) {
      fault = std::current_exception();
    }
  };
  // An operation without a cancellation slot: nothing can make it complete early and leave the
  // work with dangling references.
  auto begin = [&pool, &run](auto handler) {
    auto executor = asio::get_associated_executor(handler);
    auto keep_alive = asio::prefer(executor, asio::execution::outstanding_work.tracked);
    asio::post(pool, [&run, handler = std::move(handler), keep_alive]() mutable {
      run();
      asio::post(keep_alive, std::move(handler));
    });
  };
  auto finished =
      asio::async_initiate<const asio::use_awaitable_t<>, void()>(begin, asio::use_awaitable);
  co_await std::move(finished);
  if (fault) std::rethrow_exception(fault);
  co_return std::move(*value);
}

}  // namespace hako
