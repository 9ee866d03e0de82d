#include <gtest/gtest.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <filesystem>
#include <thread>

#include "base/async/both.h"
#include "base/async/check_loop.h"
#include "base/async/lasting.h"
#include "base/async/run_until.h"
#include "base/async/task_group.h"
#include "base/async/turn_queue.h"

namespace hako {
namespace {

using namespace std::chrono_literals;

class AsyncTest : public testing::Test {
 protected:
  /// Runs `body` on a loop of its own, with a bound on how long it may take.
  template <class Body>
  void run(Body body) {
    bool finished = false;
    std::exception_ptr failure;
    asio::co_spawn(io, body(), [&](std::exception_ptr e) {
      failure = e;
      finished = true;
    });
    io.run_for(20s);
    if (failure) std::rethrow_exception(failure);
    ASSERT_TRUE(finished) << "did not end in time";
  }

  asio::io_context io;
  asio::thread_pool pool{2};
};

/// This process's newest descriptor of a kind.
int newest(const std::string& kind) {
  int found = -1;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code gone;
    auto target = std::filesystem::read_symlink(entry.path(), gone);
    if (target == "anon_inode:[" + kind + "]")
      found = std::max(found, std::stoi(entry.path().filename()));
  }
  return found;
}

TEST(CheckLoop, FindsNothingWrongWithOneThatWorks) {
  asio::io_context loop(1);
  auto works = check_loop(loop);
  EXPECT_TRUE(works) << works.error().message();
}

/// As it is where the kernel had no memory when the loop was made.
TEST(CheckLoop, FindsOneThatTheKernelDoesNotWatch) {
  for (const char* unwatched : {"timerfd", "eventfd"}) {
    asio::io_context loop(1);
    asio::steady_timer makes_it(loop);
    ASSERT_EQ(::epoll_ctl(newest("eventpoll"), EPOLL_CTL_DEL, newest(unwatched), nullptr), 0);
    auto works = check_loop(loop);
    ASSERT_FALSE(works) << unwatched;
    EXPECT_EQ(works.error().code(), ErrorCode::unavailable);
  }
}

Task<Result<int>> answer_after(Duration wait, int number) {
  co_await sleep_for(wait);
  co_return number;
}

Task<Result<int>> fails() {
  co_return Error(ErrorCode::not_found, "nothing");
}

Task<Result<int>> throws() {
  throw std::runtime_error("broken");
  co_return 1;
}

TEST_F(AsyncTest, DeadlineGivesValueErrorExceptionOrTimeout) {
  run([&]() -> Task<void> {
    auto in_time = co_await with_deadline(10s, answer_after(1ms, 5));
    EXPECT_EQ(in_time.value(), 5);
    auto late = co_await with_deadline(5ms, answer_after(10s, 5));
    EXPECT_EQ(late.error().code(), ErrorCode::timed_out);
    auto failed = co_await with_deadline(10s, fails());
    EXPECT_EQ(failed.error().code(), ErrorCode::not_found);
    bool thrown = false;
    try {
      (void)co_await with_deadline(10s, throws());
    } catch (const std::runtime_error&) {
      thrown = true;
    }
    EXPECT_TRUE(thrown);
  });
}

TEST_F(AsyncTest, WhatIsStoppedGivesNothing) {
  run([&]() -> Task<void> {
    auto in_time = co_await run_until(sleep_for(10s), answer_after(1ms, 5));
    EXPECT_EQ(in_time.value().value(), 5);
    auto stopped = co_await run_until(sleep_for(5ms), answer_after(10s, 5));
    EXPECT_FALSE(stopped);
    bool thrown = false;
    try {
      (void)co_await run_until(sleep_for(10s), throws());
    } catch (const std::runtime_error&) {
      thrown = true;
    }
    EXPECT_TRUE(thrown);
  });
}

Task<void> set_when_cancelled(bool& cancelled, Duration wait) {
  try {
    co_await sleep_for(wait);
  } catch (const boost::system::system_error&) {
    cancelled = true;
    throw;
  }
}

Task<Result<int>> deadline_inside(bool& cancelled) {
  auto inner = [](bool& flag) -> Task<Result<int>> {
    co_await set_when_cancelled(flag, 1h);
    co_return 1;
  };
  co_return co_await with_deadline(1h, inner(cancelled));
}

Task<void> wait_inside(bool& cancelled) {
  (void)co_await deadline_inside(cancelled);
}

TEST_F(AsyncTest, CancellationReachesThroughADeadline) {
  bool cancelled = false;
  run([&]() -> Task<void> {
    TaskGroup group(io.get_executor());
    group.spawn("wait", wait_inside(cancelled));
    co_await sleep_for(5ms);
    co_await group.stop();
  });
  EXPECT_TRUE(cancelled);
}

Task<void> count_up(int& count, Duration wait) {
  co_await sleep_for(wait);
  ++count;
}

Task<void> broken() {
  throw std::runtime_error("a task that fails");
  co_return;
}

TEST_F(AsyncTest, StoppingAGroupWaitsForEveryTask) {
  run([&]() -> Task<void> {
    TaskGroup group(io.get_executor());
    int count = 0;
    bool cancelled = false;
    group.spawn("short", count_up(count, 1ms));
    group.spawn("long", set_when_cancelled(cancelled, 1h));
    group.spawn("broken", broken());
    co_await sleep_for(20ms);
    EXPECT_EQ(count, 1);
    EXPECT_EQ(group.size(), 1u);
    co_await group.stop();
    EXPECT_TRUE(cancelled);
    EXPECT_EQ(group.size(), 0u);
    group.spawn("refused", count_up(count, 0ms));
    EXPECT_EQ(group.size(), 0u);
    co_await group.stop();
  });
}

/// Waits again after it has been cancelled once, as careless cleanup does.
Task<void> stubborn(int& rounds) {
  for (int i = 0; i < 3; ++i) {
    try {
      co_await sleep_for(1h);
    } catch (const boost::system::system_error&) {
      ++rounds;
    }
    co_await asio::this_coro::reset_cancellation_state();
  }
}

TEST_F(AsyncTest, StopRepeatsItselfToTasksThatMissedIt) {
  int rounds = 0;
  run([&]() -> Task<void> {
    TaskGroup group(io.get_executor());
    group.spawn("stubborn", stubborn(rounds));
    co_await sleep_for(1ms);
    co_await group.stop();
  });
  EXPECT_EQ(rounds, 3);
}

/// Owns a group, is cancelled, and must clean it up all the same.
Task<void> owner(asio::any_io_executor executor, bool& inner_cancelled, bool& cleaned) {
  TaskGroup group(executor);
  group.spawn("inner", set_when_cancelled(inner_cancelled, 1h));
  std::exception_ptr fault;
  try {
    co_await sleep_for(1h);
  } catch (...) {
    fault = std::current_exception();
  }
  co_await shield_from_cancellation();
  co_await group.stop();
  co_await sleep_for(1ms);
  cleaned = true;
  std::rethrow_exception(fault);
}

TEST_F(AsyncTest, ACancelledOwnerCanStopItsGroup) {
  bool inner_cancelled = false, cleaned = false;
  run([&]() -> Task<void> {
    TaskGroup group(io.get_executor());
    group.spawn("owner", owner(io.get_executor(), inner_cancelled, cleaned));
    co_await sleep_for(5ms);
    co_await group.stop();
  });
  EXPECT_TRUE(inner_cancelled);
  EXPECT_TRUE(cleaned);
}

Task<void> stop_then_wait(asio::any_io_executor executor, bool& cancelled) {
  TaskGroup group(executor);
  co_await group.stop();
  co_await set_when_cancelled(cancelled, 1h);
}

Task<void> block_then_wait(asio::thread_pool& pool, bool& cancelled) {
  auto work = [] { return 1; };
  (void)co_await run_blocking(pool, work);
  co_await set_when_cancelled(cancelled, 1h);
}

TEST_F(AsyncTest, StopAndBlockingWorkLeaveTheirCallerCancellable) {
  bool first = false, second = false;
  run([&]() -> Task<void> {
    TaskGroup group(io.get_executor());
    group.spawn("stop", stop_then_wait(io.get_executor(), first));
    group.spawn("block", block_then_wait(pool, second));
    co_await sleep_for(30ms);
    co_await group.stop();
  });
  EXPECT_TRUE(first);
  EXPECT_TRUE(second);
}

TEST_F(AsyncTest, BlockingWorkRunsElsewhereAndComesBackHere) {
  run([&]() -> Task<void> {
    auto here = std::this_thread::get_id();
    auto where = [] { return std::this_thread::get_id(); };
    auto there = co_await run_blocking(pool, where);
    EXPECT_NE(there, here);
    EXPECT_EQ(std::this_thread::get_id(), here);
    auto bad = []() -> int { throw std::runtime_error("no"); };
    bool thrown = false;
    try {
      (void)co_await run_blocking(pool, bad);
    } catch (const std::runtime_error&) {
      thrown = true;
    }
    EXPECT_TRUE(thrown);
  });
}

Task<void> block_for_a_while(asio::thread_pool& pool, std::atomic<bool>& began, bool& returned) {
  std::string text(1000, 'x');  // the work uses it after the cancellation
  auto work = [&] {
    began = true;
    std::this_thread::sleep_for(50ms);
    return text.size();
  };
  auto size = co_await run_blocking(pool, work);
  returned = size == 1000;
}

TEST_F(AsyncTest, BlockingWorkIsWaitedForThoughCancelled) {
  std::atomic<bool> began = false;
  bool returned = false;
  run([&]() -> Task<void> {
    TaskGroup group(io.get_executor());
    group.spawn("block", block_for_a_while(pool, began, returned));
    while (!began) co_await sleep_for(1ms);
    co_await group.stop();
  });
  EXPECT_TRUE(returned);
}

Task<void> take_turn(TurnQueue& queue, std::vector<int>& order, int number, Duration hold) {
  auto turn = co_await queue.take();
  order.push_back(number);
  co_await sleep_for(hold);
  order.push_back(-number);
}

TEST_F(AsyncTest, TurnsAreTakenOneAtATimeInOrder) {
  TurnQueue queue;
  std::vector<int> order;
  run([&]() -> Task<void> {
    TaskGroup group(io.get_executor());
    for (int i = 1; i <= 4; ++i) group.spawn("turn", take_turn(queue, order, i, 2ms));
    while (group.size() > 0) co_await sleep_for(1ms);
  });
  EXPECT_EQ(order, (std::vector<int>{1, -1, 2, -2, 3, -3, 4, -4}));
}

TEST_F(AsyncTest, AWaiterThatIsCancelledGivesUpItsPlace) {
  TurnQueue queue;
  std::vector<int> order;
  run([&]() -> Task<void> {
    TaskGroup group(io.get_executor()), impatient(io.get_executor());
    {
      [[maybe_unused]] auto first = co_await queue.take();
      impatient.spawn("second", take_turn(queue, order, 2, 1ms));
      group.spawn("third", take_turn(queue, order, 3, 1ms));
      co_await sleep_for(1ms);
      co_await impatient.stop();
    }
    while (group.size() > 0) co_await sleep_for(1ms);
    // Free again, in spite of all that.
    [[maybe_unused]] auto turn = co_await queue.take();
  });
  EXPECT_EQ(order, (std::vector<int>{3, -3}));
}

TEST_F(AsyncTest, ASemaphoreLetsSeveralThrough) {
  TurnQueue queue(2);
  std::vector<int> order;
  run([&]() -> Task<void> {
    TaskGroup group(io.get_executor());
    for (int i = 1; i <= 3; ++i) group.spawn("turn", take_turn(queue, order, i, 10ms * i));
    while (group.size() > 0) co_await sleep_for(1ms);
  });
  ASSERT_GE(order.size(), 3u);
  // The first two go in together; the third only after one of them has come out.
  EXPECT_EQ(std::vector<int>(order.begin(), order.begin() + 2), (std::vector<int>{1, 2}));
  EXPECT_LT(order[2], 0);
}

Task<void> wait_on(Condition& condition, int& woken) {
  co_await condition.wait();
  ++woken;
}

TEST_F(AsyncTest, AConditionWakesEveryoneOnce) {
  Condition condition;
  int woken = 0;
  run([&]() -> Task<void> {
    TaskGroup group(io.get_executor()), impatient(io.get_executor());
    for (int i = 0; i < 3; ++i) group.spawn("wait", wait_on(condition, woken));
    impatient.spawn("wait", wait_on(condition, woken));
    co_await sleep_for(1ms);
    co_await impatient.stop();
    condition.notify_all();
    condition.notify_all();
    while (group.size() > 0) co_await sleep_for(1ms);
  });
  EXPECT_EQ(woken, 3);
}

/// The loop goes while tasks wait: nothing may be touched after it has gone.
Task<Result<void>> fail_after(Duration time, std::string message) {
  co_await sleep_for(time);
  co_return Error(ErrorCode::unavailable, std::move(message));
}

Task<Result<void>> succeed_after(Duration time) {
  co_await sleep_for(time);
  co_return ok();
}

Task<void> check_both() {
  auto fails = fail_after(1ms, "first");
  auto sleeps = succeed_after(1h);
  auto first = co_await both(std::move(fails), std::move(sleeps));
  EXPECT_FALSE(first);
  if (!first) {
    EXPECT_EQ(first.error().message(), "first");
  }
  auto sleeps_too = succeed_after(1h);
  auto fails_too = fail_after(1ms, "second");
  auto second = co_await both(std::move(sleeps_too), std::move(fails_too));
  EXPECT_FALSE(second);
  if (!second) {
    EXPECT_EQ(second.error().message(), "second");
  }
  auto fails_at_once = fail_after(0ms, "either");
  auto and_so_does_this = fail_after(0ms, "either");
  auto either = co_await both(std::move(fails_at_once), std::move(and_so_does_this));
  EXPECT_FALSE(either);
  auto well = succeed_after(1ms);
  auto as_well = succeed_after(2ms);
  auto done = co_await both(std::move(well), std::move(as_well));
  EXPECT_TRUE(done);
}

TEST(AsyncBoth, TheFirstFailureCancelsTheOther) {
  asio::io_context loop;
  std::exception_ptr fault;
  asio::co_spawn(loop, check_both(), [&](std::exception_ptr error) { fault = error; });
  loop.run_for(10s);
  EXPECT_TRUE(loop.stopped());
  if (fault) std::rethrow_exception(fault);
}

Task<void> throw_at_first(int& times) {
  if (++times == 1) throw std::runtime_error("broken");
  co_return;
}

TEST_F(AsyncTest, ALastingTaskIsBegunAnewAfterAnException) {
  int times = 0;
  run([&]() -> Task<void> {
    auto task = lasting("test", [&] { return throw_at_first(times); });
    co_await std::move(task);
  });
  EXPECT_EQ(times, 2);
}

TEST_F(AsyncTest, ALastingTaskEndsWhenItIsCancelled) {
  bool cancelled = false;
  run([&]() -> Task<void> {
    TaskGroup group(io.get_executor());
    auto task = lasting("test", [&] { return set_when_cancelled(cancelled, 1h); });
    group.spawn("test", std::move(task));
    co_await sleep_for(5ms);
    co_await group.stop();
  });
  EXPECT_TRUE(cancelled);
}

Task<void> wait_twice_and_tidy_up(int& times) {
  using namespace asio::experimental::awaitable_operators;
  ++times;
  std::exception_ptr fault;
  try {
    auto one = sleep_for(1h);
    auto other = sleep_for(1h);
    co_await (std::move(one) && std::move(other));
  } catch (...) {
    fault = std::current_exception();
  }
  co_await shield_from_cancellation();
  if (fault) std::rethrow_exception(fault);
}

TEST_F(AsyncTest, ALastingTaskEndsWhenTwoWaitsOfItAreCancelledBeforeAShield) {
  int times = 0;
  run([&]() -> Task<void> {
    TaskGroup group(io.get_executor());
    auto task = lasting("test", [&] { return wait_twice_and_tidy_up(times); });
    group.spawn("test", std::move(task));
    co_await sleep_for(5ms);
    co_await group.stop();
  });
  EXPECT_EQ(times, 1);
}

Task<void> break_down() {
  co_await sleep_for(1ms);
  throw std::runtime_error("broken");
}

TEST_F(AsyncTest, TheEndOfAVitalTaskIsThatOfTheProcess) {
  auto live = [&] {
    TaskGroup group(io.get_executor());
    group.spawn("test", vital("test", break_down()));
    io.run_for(10s);
  };
  EXPECT_EXIT(live(), testing::ExitedWithCode(1), "task_failed");
}

TEST_F(AsyncTest, AVitalTaskMayBeCancelled) {
  bool cancelled = false;
  run([&]() -> Task<void> {
    TaskGroup group(io.get_executor());
    group.spawn("test", vital("test", set_when_cancelled(cancelled, 1h)));
    co_await sleep_for(5ms);
    co_await group.stop();
  });
  EXPECT_TRUE(cancelled);
}

TEST(AsyncTeardown, AbandonedTasksLeaveQuietly) {
  TurnQueue queue;
  std::vector<int> order;
  auto io = std::make_unique<asio::io_context>();
  {
    TaskGroup group(io->get_executor());
    for (int i = 1; i <= 3; ++i) group.spawn("turn", take_turn(queue, order, i, 1h));
    io->run_for(5ms);
    EXPECT_EQ(group.size(), 3u);
  }
  io.reset();
  EXPECT_EQ(order, (std::vector<int>{1}));
}

}  // namespace
}  // namespace hako
