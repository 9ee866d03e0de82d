// Wall-clock text forms.
#pragma once

#include <algorithm>
#include <chrono>
#include <optional>
#include <string>
#include <string_view>

namespace hako {

using WallClock = std::chrono::system_clock;
using WallTime = WallClock::time_point;

/// "2026-01-31T12:00:00.123Z", UTC, milliseconds.
std::string to_rfc3339(WallTime time);
std::string rfc3339_now();
/// Accepts fractions up to nanoseconds, and Z or a numeric offset. Nothing for what is no date, or
/// outside the years 1700 to 2200, which WallTime holds for sure.
std::optional<WallTime> from_rfc3339(std::string_view text);

inline int64_t to_unix_ms(WallTime time) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(time.time_since_epoch()).count();
}
/// Clamped to what WallTime can hold, so that numbers from outside may be passed as they come.
inline WallTime from_unix_ms(int64_t ms) {
  constexpr int64_t kLatest =
      std::chrono::duration_cast<std::chrono::milliseconds>(WallClock::duration::max()).count() - 1;
  return WallTime(std::chrono::milliseconds(std::clamp(ms, -kLatest, kLatest)));
}

}  // namespace hako
