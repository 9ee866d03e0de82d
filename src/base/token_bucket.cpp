#include "base/token_bucket.h"

#include <algorithm>

namespace hako {

TokenBucket::TokenBucket(double per_second, double burst)
    : per_second_(per_second), burst_(std::max(burst, 1.0)), level_(burst_) {}

void TokenBucket::change(Time now, double per_second, double burst) {
  fill(now);
  per_second_ = per_second;
  burst_ = std::max(burst, 1.0);
  level_ = std::min(level_, burst_);
}

bool TokenBucket::take(Time now) {
  if (per_second_ <= 0) return true;
  fill(now);
  if (level_ < 1) return false;
  level_ -= 1;
  return true;
}

TokenBucket::Duration TokenBucket::wait(Time now) {
  if (per_second_ <= 0) return Duration::zero();
  fill(now);
  if (level_ >= 1) return Duration::zero();
  return std::chrono::ceil<Duration>(std::chrono::duration<double>((1 - level_) / per_second_));
}

TokenBucket::Duration TokenBucket::spend(Time now, double tokens) {
  if (per_second_ <= 0) return Duration::zero();
  fill(now);
  level_ -= tokens;
  if (level_ >= 0) return Duration::zero();
  return std::chrono::ceil<Duration>(std::chrono::duration<double>(-level_ / per_second_));
}

void TokenBucket::fill(Time now) {
  // Whoever passes a time that lies back gets nothing for it, and loses nothing.
  if (now <= filled_) return;
  if (filled_ != Time{}) {
    std::chrono::duration<double> passed = now - filled_;
    level_ = std::min(burst_, level_ + passed.count() * per_second_);
  }
  filled_ = now;
}

}  // namespace hako
