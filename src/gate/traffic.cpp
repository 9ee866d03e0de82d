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
  size_t piece = kLargestPiece;
  if (rate_ > 0) piece = std::clamp(static_cast<size_t>(rate_ / 16), kSmallestPiece, piece);
  if (most_ == 0) return piece;
  return std::min(piece, static_cast<size_t>(std::max<int64_t>(most_ - moved_, 0)));
}

void BoxTraffic::count(size_t bytes) {
  moved_ += static_cast<int64_t>(bytes);
  (void)bucket_.spend(Clock::now(), static_cast<double>(bytes));
}

Duration BoxTraffic::wait() {
  return std::min(bucket_.spend(Clock::now(), 0), kLongestWait);
}

void Meter::count(Way way, size_t bytes) {
  (way == Way::out ? out_ : in_) += static_cast<int64_t>(bytes);
  last_moved_ = BoxTraffic::Clock::now();
  box_.count(bytes);
}

Task<void> Meter::pace() {
  for (;;) {
    Duration pause = box_.wait();
    if (pause <= Duration::zero()) co_return;
    co_await sleep_for(pause);
  }
}

}  // namespace hako::gate
