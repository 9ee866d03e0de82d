#include "api/either.h"

#include <gtest/gtest.h>

namespace hako::api {
namespace {

using namespace std::chrono_literals;

Task<void> break_after(Duration wait) {
  co_await sleep_for(wait);
  throw std::runtime_error("broken");
}

Task<void> wait_long(bool& cancelled) {
  try {
    co_await sleep_for(1h);
  } catch (const boost::system::system_error&) {
    cancelled = true;
    throw;
  }
}

/// What came out of it, in a bounded time.
std::string outcome_of(Task<void> a, Task<void> b) {
  asio::io_context loop;
  std::string outcome = "nothing";
  asio::co_spawn(loop, until_either_ends(std::move(a), std::move(b)), [&](std::exception_ptr fault) {
    outcome = "an end";
    try {
      if (fault) std::rethrow_exception(fault);
    } catch (const std::exception& error) {
      outcome = error.what();
    }
  });
  loop.run_for(10s);
  return outcome;
}

TEST(UntilEitherEnds, TheEndOfOneIsThatOfTheOther) {
  bool cancelled = false;
  EXPECT_EQ(outcome_of(wait_long(cancelled), sleep_for(1ms)), "an end");
  EXPECT_TRUE(cancelled);
}

TEST(UntilEitherEnds, SoIsItsBreaking) {
  bool cancelled = false;
  EXPECT_EQ(outcome_of(break_after(1ms), wait_long(cancelled)), "broken");
  EXPECT_TRUE(cancelled);
  cancelled = false;
  EXPECT_EQ(outcome_of(wait_long(cancelled), break_after(1ms)), "broken");
  EXPECT_TRUE(cancelled);
}

TEST(UntilEitherEnds, WhatBreaksWhenItIsCancelledDoesNotMatter) {
  bool cancelled = false;
  EXPECT_EQ(outcome_of(sleep_for(1ms), wait_long(cancelled)), "an end");
}

}  // namespace
}  // namespace hako::api
