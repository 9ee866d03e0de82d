#include "gate/traffic.h"

#include <algorithm>

namespace hako::gate {
namespace {

using namespace std::chrono_literals;

constexpr size_t kLargestPiece = 256 << 10;
constexpr size_t kSmallestPiece = 4 << 10;
/// So much of a second's bytes may pass at once after a quiet time.
constexpr double kBurst = 0.25;
/// A wait is cut into such spans, for a limit may be raised meanwhile.
constexpr Duration kLongestWait = 1s;

}  // namespace

void BoxTraffic::set_limits(const policy::EgressLimits& limits) {
  most_ = limits.bytes_total;
  rate_ = limits.bytes_per_second;
  auto rate = static_cast<double>(rate_);
  bucket_.change(Clock::now(), rate, std::max(1.0, rate * kBurst));
}

size_t BoxTraffic::piece() const {
  if (rate_ == 0) return kLargestPiece;
  return std::clamp(static_cast<size_t>(rate_ / 16), kSmallestPiece, kLargestPiece);
}

Duration BoxTraffic::count(size_t bytes) {
  moved_ += static_cast<int64_t>(bytes);
  if (rate_ == 0) return Duration::zero();
  Duration wait = bucket_.spend(Clock::now(), static_cast<double>(bytes));
  return std::min(wait, kLongestWait);
}

Duration Meter::count(Way way, size_t bytes) {
  (way == Way::out ? out_ : in_) += static_cast<int64_t>(bytes);
  last_moved_ = BoxTraffic::Clock::now();
  return box_.count(bytes);
}

}  // namespace hako::gate
