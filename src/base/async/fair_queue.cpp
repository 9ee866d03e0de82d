#include "base/async/fair_queue.h"

#include <algorithm>
#include <deque>
#include <list>
#include <map>

namespace hako {

struct FairQueue::Waiter {
  explicit Waiter(asio::any_io_executor executor)
      : timer(executor, asio::steady_timer::time_point::max()) {}
  asio::steady_timer timer;
  bool granted = false;
};

struct FairQueue::State {
  struct Group {
    int held = 0;
    std::deque<std::shared_ptr<Waiter>> waiting;
  };

  Limits limits;
  int held = 0;
  std::map<std::string, Group> groups;  ///< those that hold or wait
  std::list<std::string> order;         ///< those that wait; the first is next

  bool has_turn_for(const Group& group) const {
    return held < limits.turns && group.held < limits.turns_of_one;
  }

  void hold(Group& group) {
    ++group.held;
    ++held;
  }

  /// Lets in whoever may go now: of the groups that wait the one that holds least, and of equal ones
  /// the one whose turn is longer ago. Whoever is let in runs later: nothing changes meanwhile.
  void let_in() {
    while (held < limits.turns && !order.empty()) {
      auto next = std::min_element(order.begin(), order.end(), [&](const auto& a, const auto& b) {
        return groups.at(a).held < groups.at(b).held;
      });
      Group& group = groups.at(*next);
      if (!has_turn_for(group)) return;
      auto waiter = group.waiting.front();
      group.waiting.pop_front();
      hold(group);
      waiter->granted = true;
      waiter->timer.cancel();
      std::string name = *next;
      order.erase(next);
      if (!group.waiting.empty()) order.push_back(std::move(name));
    }
  }

  void forget_if_idle(const std::string& name) {
    auto found = groups.find(name);
    if (found != groups.end() && found->second.held == 0 && found->second.waiting.empty())
      groups.erase(found);
  }

  void give_back(const std::string& name) {
    --groups.at(name).held;
    --held;
    forget_if_idle(name);
    let_in();
  }

  void give_up(const std::string& name, const std::shared_ptr<Waiter>& waiter) {
    auto found = groups.find(name);
    if (found == groups.end()) return;
    std::erase(found->second.waiting, waiter);
    if (found->second.waiting.empty()) order.remove(name);
    forget_if_idle(name);
  }
};

FairQueue::FairQueue(Limits limits) : state_(std::make_shared<State>()) {
  limits.turns = std::max(limits.turns, 1);
  limits.turns_of_one = std::clamp(limits.turns_of_one, 1, limits.turns);
  state_->limits = limits;
}

FairQueue::Turn::~Turn() {
  if (state_) state_->give_back(group_);
}

Task<Result<FairQueue::Turn>> FairQueue::take(std::string name) {
  auto state = state_;
  State::Group& group = state->groups[name];
  if (group.waiting.empty() && state->has_turn_for(group)) {
    state->hold(group);
    co_return Turn(std::move(state), std::move(name));
  }
  if (group.waiting.size() >= state->limits.waiting_of_one) {
    state->forget_if_idle(name);
    co_return Error(ErrorCode::resource_exhausted, "too many are waiting already");
  }
  auto waiter = std::make_shared<Waiter>(co_await asio::this_coro::executor);
  if (group.waiting.empty()) state->order.push_back(name);
  group.waiting.push_back(waiter);
  // Gives up the place however this ends early, be it that the coroutine never runs again: a turn
  // must not be granted to nobody.
  struct Place {
    State& state;
    const std::string& name;
    const std::shared_ptr<Waiter>& waiter;
    bool taken = false;
    ~Place() {
      if (taken) return;
      if (waiter->granted)
        state.give_back(name);
      else
        state.give_up(name, waiter);
    }
  } place{*state, name, waiter};
  boost::system::error_code error;
  co_await waiter->timer.async_wait(asio::redirect_error(asio::use_awaitable, error));
  if (!waiter->granted) throw boost::system::system_error(asio::error::operation_aborted);
  // The turn was granted before we run again, so nobody can have slipped in between.
  place.taken = true;
  co_return Turn(state, name);
}

size_t FairQueue::waiting() const {
  size_t count = 0;
  for (const auto& [name, group] : state_->groups) count += group.waiting.size();
  return count;
}

size_t FairQueue::waiting_of(const std::string& group) const {
  auto found = state_->groups.find(group);
  return found == state_->groups.end() ? 0 : found->second.waiting.size();
}

}  // namespace hako
