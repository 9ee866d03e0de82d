// Counting what a box moves, and holding it to its limits.
#pragma once

#include "base/async/task.h"
#include "base/token_bucket.h"
#include "policy/egress.h"

namespace hako::gate {

/// Seen from the box.
enum class Way { out, in };

/// What all connections of one box move together. Thread: one executor.
class BoxTraffic {
 public:
  using Clock = std::chrono::steady_clock;

  void set_limits(const policy::EgressLimits& limits);
  /// Nothing more may pass.
  bool spent() const { return most_ > 0 && moved_ >= most_; }
  int64_t moved() const { return moved_; }
  /// How many bytes to take at once: few where the rate is low, so that it stays even, and never
  /// more than may pass in all. 0 once all is spent.
  size_t piece() const;
  /// Counts bytes that have passed.
  void count(size_t bytes);
  /// How long to wait before asking again whether more may pass; zero: it may now. Others may have
  /// moved something meanwhile, or a limit may have been raised.
  Duration wait();

 private:
  int64_t most_ = 0;  ///< bytes in all; 0: no limit
  int64_t rate_ = 0;  ///< bytes per second; 0: no limit
  int64_t moved_ = 0;
  TokenBucket bucket_{0, 1};  ///< of bytes
};

/// Of one connection.
class Meter {
 public:
  explicit Meter(BoxTraffic& box) : box_(box) {}

  size_t piece() const { return box_.piece(); }
  bool spent() const { return box_.spent(); }
  void count(Way way, size_t bytes);
  /// Waits until more may pass. To be asked before each piece, so that however many connections
  /// wait, one piece at a time is borrowed. Cancel: safe.
  Task<void> pace();
  int64_t out() const { return out_; }
  int64_t in() const { return in_; }
  BoxTraffic::Clock::time_point last_moved() const { return last_moved_; }

 private:
  BoxTraffic& box_;
  int64_t out_ = 0, in_ = 0;
  BoxTraffic::Clock::time_point last_moved_ = BoxTraffic::Clock::now();
};

}  // namespace hako::gate
