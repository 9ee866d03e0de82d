#include "base/async/turn_queue.h"

#include <algorithm>

namespace hako {

Task<TurnQueue::Turn> TurnQueue::take() {
  if (!busy_) {
    busy_ = true;
    co_return Turn(this);
  }
  auto waiter = std::make_shared<Waiter>(co_await asio::this_coro::executor);
  waiting_.push_back(waiter);
  boost::system::error_code error;
  co_await waiter->timer.async_wait(asio::redirect_error(asio::use_awaitable, error));
  if (!waiter->granted) {
    std::erase(waiting_, waiter);
    throw boost::system::system_error(asio::error::operation_aborted);
  }
  // The turn was granted before we run again, so nobody can have slipped in between.
  co_return Turn(this);
}

void TurnQueue::pass_on() {
  if (waiting_.empty()) {
    busy_ = false;
    return;
  }
  auto next = waiting_.front();
  waiting_.pop_front();
  next->granted = true;
  next->timer.cancel();
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
