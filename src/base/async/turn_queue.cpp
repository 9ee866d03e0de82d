#include "base/async/turn_queue.h"

#include <algorithm>
#include <deque>

namespace hako {

struct TurnQueue::Waiter {
  explicit Waiter(asio::any_io_executor executor)
      : timer(executor, asio::steady_timer::time_point::max()) {}
  asio::steady_timer timer;
  bool granted = false;
};

struct TurnQueue::State {
  int free;
  std::deque<std::shared_ptr<Waiter>> waiting;

  void pass_on() {
    if (waiting.empty()) {
      ++free;
      return;
    }
    auto next = waiting.front();
    waiting.pop_front();
    next->granted = true;
    next->timer.cancel();
  }
};

TurnQueue::TurnQueue(int turns) : state_(std::make_shared<State>()) {
  state_->free = turns;
}

TurnQueue::Turn::~Turn() {
  if (state_) state_->pass_on();
}

Task<TurnQueue::Turn> TurnQueue::take() {
  auto state = state_;
  if (state->free > 0) {
    --state->free;
    co_return Turn(std::move(state));
  }
  auto waiter = std::make_shared<Waiter>(co_await asio::this_coro::executor);
  state->waiting.push_back(waiter);
  // Gives up the place however this ends early, be it that the coroutine never runs again: a turn
  // must not be granted to nobody.
  struct Place {
    State& state;
    const std::shared_ptr<Waiter>& waiter;
    bool taken = false;
    ~Place() {
      if (taken) return;
      if (waiter->granted)
        state.pass_on();
      else
        std::erase(state.waiting, waiter);
    }
  } place{*state, waiter};
  boost::system::error_code error;
  co_await waiter->timer.async_wait(asio::redirect_error(asio::use_awaitable, error));
  if (!waiter->granted) throw boost::system::system_error(asio::error::operation_aborted);
  // The turn was granted before we run again, so nobody can have slipped in between.
  place.taken = true;
  co_return Turn(state);
}

Task<void> Condition::wait() {
  auto timer = std::make_shared<asio::steady_timer>(co_await asio::this_coro::executor,
                                                    asio::steady_timer::time_point::max());
  waiting_.push_back(timer);
  boost::system::error_code error;
  co_await timer->async_wait(asio::redirect_error(asio::use_awaitable, error));
  bool notified = std::erase(waiting_, timer) == 0;
  if (!notified) throw boost::system::system_error(asio::error::operation_aborted);
}

void Condition::notify_all() {
  auto waiting = std::exchange(waiting_, {});
  for (auto& timer : waiting) timer->cancel();
}

}  // namespace hako
