// Runs coroutines from tests.
#pragma once

#include <gtest/gtest.h>

#include "base/async/task.h"

namespace hako::test {

/// Runs `task` on a loop of its own until it ends. Exceptions pass through. Fails the test, and
/// gives up, after `limit`.
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
  loop.run_for(limit);
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
