// Wall-clock text forms.
#pragma once

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
/// Accepts fractions up to nanoseconds, and Z or a numeric offset.
std::optional<WallTime> from_rfc3339(std::string_view text);

inline int64_t to_unix_ms(WallTime time) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(time.time_since_epoch()).count();
}
inline WallTime from_unix_ms(int64_t ms) { return WallTime(std::chrono::milliseconds(ms)); }

}  // namespace hako
