#include "base/async/check_loop.h"

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>

#include <chrono>
#include <thread>

namespace hako {
namespace {

using Clock = std::chrono::steady_clock;

constexpr auto kMoment = std::chrono::milliseconds(1);
/// Loops of Asio look up by themselves once in a second.
constexpr auto kPatience = std::chrono::milliseconds(900);
constexpr int kTries = 3;

/// Once. On a host that has much else to do, one that works may be late.
bool works(asio::io_context& loop) {
  bool fired = false, woken = false;
  auto work = asio::make_work_guard(loop);
  auto done = [&] {
    if (fired && woken) work.reset();
  };
  asio::steady_timer timer(loop, kMoment);
  timer.async_wait([&](boost::system::error_code error) {
    fired = !error;
    done();
  });
  std::thread other([&] {
    std::this_thread::sleep_for(2 * kMoment);
    asio::post(loop, [&, posted = Clock::now()] {
      woken = Clock::now() - posted < kPatience / 2;
      done();
    });
  });
  loop.run_for(kPatience);
  other.join();
  // Whatever still waits is of this call.
  timer.cancel();
  work.reset();
  loop.poll();
  loop.restart();
  return fired && woken;
}

}  // namespace

Result<void> check_loop(asio::io_context& loop) {
  for (int i = 0; i < kTries; ++i)
    if (works(loop)) return ok();
  return Error(ErrorCode::unavailable, "the kernel does not watch an event loop's timers or its wake-up");
}

}  // namespace hako
