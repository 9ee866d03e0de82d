// Limits on how often something may happen, or how much may pass.
#pragma once

#include <chrono>

namespace hako {

/// Fills at a steady rate up to a burst. The caller says what time it is.
class TokenBucket {
 public:
  using Time = std::chrono::steady_clock::time_point;
  using Duration = std::chrono::steady_clock::duration;

  /// Starts full. `per_second` 0: no limit. `burst`: tokens, at least 1.
  TokenBucket(double per_second, double burst);

  /// Other limits from now on. What has been saved up stays, up to the new burst.
  void change(Time now, double per_second, double burst);

  /// Takes one, or says that there is none.
  bool take(Time now);
  /// How long until take() gives one: zero if it would now.
  Duration wait(Time now);
  /// Takes `tokens`, whether they are there or not, and says how long to wait before the next.
  /// For bytes that have been moved already.
  Duration spend(Time now, double tokens);

 private:
  void fill(Time now);

  double per_second_;
  double burst_;
  double level_;  ///< below zero: spent before it was there
  Time filled_{};
};

}  // namespace hako
