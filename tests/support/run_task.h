// Runs coroutines from tests.
#pragma once

#include <gtest/gtest.h>

#include "base/async/task.h"

namespace hako::test {

/// How many times as long as usual a program takes that is built like this.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr int kSlowness = 6;
#else
inline constexpr int kSlowness = 1;
#endif

/// Runs `task` on a loop of its own until it ends. Exceptions pass through. Fails the test, and
/// gives up, after `limit` (longer with sanitizers).
inline void run_on(asio::io_context& loop, Task<void> task,
                   std::chrono::seconds limit = std::chrono::seconds(60)) {
  std::exception_ptr fault;
  bool done = false;
  asio::co_spawn(loop, std::move(task), [&](std::exception_ptr error) {
    fault = error;
    done = true;
    loop.stop();
  });
  loop.restart();
  loop.run_for(limit * kSlowness);
  if (!done) throw std::runtime_error("the task has not ended in time");
  if (fault) std::rethrow_exception(fault);
}

}  // namespace hako::test

/// ASSERT_TRUE for coroutines.
#define CO_ASSERT_TRUE(condition)                        \
  do {                                                   \
    bool co_assert_holds = static_cast<bool>(condition); \
    EXPECT_TRUE(co_assert_holds) << #condition;          \
    if (!co_assert_holds) co_return;                     \
  } while (false)
