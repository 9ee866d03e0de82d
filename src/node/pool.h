// Clones kept ready for the next create.
#pragma once

#include <deque>

#include "node/recent_use.h"
#include "node/vm.h"

namespace hako::node {

/// How many creates are going on, so that refilling can keep out of their way.
class Activity {
 public:
  class Busy {
   public:
    explicit Busy(Activity& activity) : activity_(activity) { ++activity_.count_; }
    Busy(const Busy&) = delete;
    Busy& operator=(const Busy&) = delete;
    ~Busy() {
      --activity_.count_;
      activity_.last_ = std::chrono::steady_clock::now();
    }

   private:
    Activity& activity_;
  };
  /// Waits until no create has been going on for a moment, but not for ever: a pool that is never
  /// refilled makes every create slow. While `urgent` holds, only
  /// for a short while; it is asked again and again.
  Task<void> wait_until_quiet(std::function<bool()> urgent);

 private:
  int count_ = 0;
  std::chrono::steady_clock::time_point last_{};
};

/// Keeps `size` clones of one snapshot restored, warmed by a real command, and paused.
/// Thread: the node's executor.
class WarmPool {
 public:
  WarmPool(Context& context, Activity& activity, RecentUse& uses,
           std::shared_ptr<const LoadedSnapshot> snapshot, size_t size);

  /// A paused clone, or nothing if none is ready, or none but those that are kept for tenants who
  /// had few of them lately ([fairness] pool_kept). Sets the refill going.
  std::unique_ptr<Vm> take(const std::string& tenant);
  /// For one whose share is small: waits a while for the clone that is being made, if there is none.
  /// A whole clone of its own would be slower beside it. Returns at once for all others.
  Task<void> wait_for_one(std::string tenant);
  size_t ready() const { return ready_.size(); }
  const std::shared_ptr<const LoadedSnapshot>& snapshot() const { return snapshot_; }
  /// Destroys what is ready.
  Task<void> stop();

 private:
  Task<void> keep_full();
  Task<Result<void>> next_made();
  Task<Result<void>> make_one();

  Context& context_;
  Activity& activity_;
  RecentUse& uses_;  ///< of all pools
  std::shared_ptr<const LoadedSnapshot> snapshot_;
  size_t size_;
  size_t kept_;
  std::deque<std::unique_ptr<Vm>> ready_;
  Condition taken_, made_;
  bool full_ = false;     ///< the last clone was not made, as the host has no room
  bool awaited_ = false;  ///< somebody waits for the next one
  TaskGroup tasks_;
};

}  // namespace hako::node
