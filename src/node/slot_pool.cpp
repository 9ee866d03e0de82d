#include "node/slot_pool.h"

#include <algorithm>

#include "base/async/lasting.h"
#include "base/log.h"

namespace hako::node {

SlotPool::SlotPool(asio::any_io_executor executor, asio::thread_pool& blocking,
                   std::string directory, network::SlotLimits limits, int most, int ready)
    : blocking_(blocking),
      directory_(std::move(directory)),
      limits_(limits),
      most_(most),
      wanted_ready_(static_cast<size_t>(ready)),
      tasks_(executor) {}

void SlotPool::start(const std::set<int>& taken) {
  used_ = taken;
  tasks_.spawn("keep slots ready", lasting("keep slots ready", [this] { return keep_ready(); }));
}

Task<void> SlotPool::stop() {
  co_await tasks_.stop();
  while (!ready_.empty()) {
    network::Slot slot = std::move(ready_.front());
    ready_.pop_front();
    co_await dispose(std::move(slot));
  }
}

Task<Result<network::Slot>> SlotPool::acquire() {
  if (ready_.empty()) co_return co_await make();
  network::Slot slot = std::move(ready_.front());
  ready_.pop_front();
  low_.notify_all();
  co_return std::move(slot);
}

Result<network::Slot> SlotPool::open(int number) {
  return network::open_slot(directory_, number, limits_);
}

Task<Result<network::Slot>> SlotPool::make() {
  int number = 0;
  while (used_.contains(number)) ++number;
  if (number >= most_)
    co_return Error(ErrorCode::no_capacity,
                    "all " + std::to_string(most_) + " network slots of this node are in use");
  used_.insert(number);
  changing_.insert(number);
  auto work = [directory = directory_, limits = limits_, number] {
    // Something of a crashed run may still be bound there; no record claims it, or the number
    // would have been taken.
    if (auto removed = network::destroy_slot(directory, number); !removed)
      return Result<network::Slot>(removed.error());
    return network::create_slot(directory, number, limits);
  };
  auto slot = co_await run_blocking(blocking_, work);
  changing_.erase(number);
  if (!slot) used_.erase(number);
  co_return std::move(slot);
}

bool SlotPool::is_ours(int number) const {
  auto has_number = [number](const network::Slot& slot) { return slot.number == number; };
  return changing_.contains(number) || std::any_of(ready_.begin(), ready_.end(), has_number);
}

Task<void> SlotPool::remove_stray(int number) {
  if (is_ours(number)) co_return;
  // Taken while it is being removed, so that nobody makes one of that number meanwhile.
  used_.insert(number);
  network::Slot slot;
  slot.number = number;
  co_await dispose(std::move(slot));
}

Task<void> SlotPool::dispose(network::Slot slot) {
  int number = slot.number;
  changing_.insert(number);
  auto work = [directory = directory_, slot = std::move(slot)]() mutable {
    slot.netns.reset();
    return network::destroy_slot(directory, slot.number);
  };
  auto removed = co_await run_blocking(blocking_, work);
  changing_.erase(number);
  // A number whose namespace is stuck stays used: better one slot less than two boxes in one.
  if (removed)
    used_.erase(number);
  else
    log_error("slot_not_removed", {{"slot", number}, {"error", removed.error().message()}});
}

Task<void> SlotPool::keep_ready() {
  for (;;) {
    while (ready_.size() < wanted_ready_) {
      auto slot = co_await make();
      if (!slot) {
        if (slot.error().code() != ErrorCode::no_capacity)
          log_error("slot_not_made", {{"error", slot.error().message()}});
        co_await sleep_for(std::chrono::seconds(2));
        break;
      }
      ready_.push_back(std::move(slot).value());
    }
    if (ready_.size() >= wanted_ready_) co_await low_.wait();
  }
}

}  // namespace hako::node
