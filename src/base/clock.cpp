#include "base/clock.h"

#include <charconv>
#include <cstdio>
#include <ctime>

namespace hako {

std::string to_rfc3339(WallTime time) {
  int64_t ms = to_unix_ms(time);
  int64_t seconds = ms / 1000;
  int64_t fraction = ms % 1000;
  if (fraction < 0) {
    fraction += 1000;
    --seconds;
  }
  std::time_t whole = static_cast<std::time_t>(seconds);
  std::tm parts{};
  ::gmtime_r(&whole, &parts);
  char text[64];
  std::snprintf(text, sizeof text, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", parts.tm_year + 1900,
                parts.tm_mon + 1, parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec,
                static_cast<int>(fraction));
  return text;
}

std::string rfc3339_now() {
  return to_rfc3339(WallClock::now());
}

namespace {

/// Takes exactly `digits` decimal digits off the front.
std::optional<int> take_number(std::string_view& text, size_t digits) {
  if (text.size() < digits) return std::nullopt;
  int value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + digits, value);
  if (error != std::errc() || end != text.data() + digits || value < 0) return std::nullopt;
  text.remove_prefix(digits);
  return value;
}

bool take(std::string_view& text, char lower, char upper) {
  if (text.empty() || (text[0] != lower && text[0] != upper)) return false;
  text.remove_prefix(1);
  return true;
}

}  // namespace

std::optional<WallTime> from_rfc3339(std::string_view text) {
  std::tm parts{};
  auto year = take_number(text, 4);
  if (!year || !take(text, '-', '-')) return std::nullopt;
  auto month = take_number(text, 2);
  if (!month || !take(text, '-', '-')) return std::nullopt;
  auto day = take_number(text, 2);
  if (!day || !take(text, 't', 'T')) return std::nullopt;
  auto hour = take_number(text, 2);
  if (!hour || !take(text, ':', ':')) return std::nullopt;
  auto minute = take_number(text, 2);
  if (!minute || !take(text, ':', ':')) return std::nullopt;
  auto second = take_number(text, 2);
  if (!second) return std::nullopt;
  if (*month < 1 || *month > 12 || *day < 1 || *day > 31 || *hour > 23 || *minute > 59 ||
      *second > 60 || *year < 1700 || *year > 2200)
    return std::nullopt;
  int64_t nanoseconds = 0;
  if (take(text, '.', '.')) {
    int64_t scale = 100'000'000;
    size_t digits = 0;
    while (!text.empty() && text[0] >= '0' && text[0] <= '9') {
      nanoseconds += (text[0] - '0') * scale;
      scale /= 10;
      ++digits;
      text.remove_prefix(1);
    }
    if (digits == 0 || digits > 9) return std::nullopt;
  }
  int offset_seconds = 0;
  if (!take(text, 'z', 'Z')) {
    if (text.empty() || (text[0] != '+' && text[0] != '-')) return std::nullopt;
    int sign = text[0] == '-' ? -1 : 1;
    text.remove_prefix(1);
    auto hours = take_number(text, 2);
    if (!hours || !take(text, ':', ':')) return std::nullopt;
    auto minutes = take_number(text, 2);
    if (!minutes || *hours > 23 || *minutes > 59) return std::nullopt;
    offset_seconds = sign * (*hours * 3600 + *minutes * 60);
  }
  if (!text.empty()) return std::nullopt;
  parts.tm_year = *year - 1900;
  parts.tm_mon = *month - 1;
  parts.tm_mday = *day;
  parts.tm_hour = *hour;
  parts.tm_min = *minute;
  parts.tm_sec = *second;
  std::time_t whole = ::timegm(&parts);
  // timegm makes the 31st of June the 1st of July; only a leap second may carry over.
  if (*second < 60 && parts.tm_mday != *day) return std::nullopt;
  whole -= offset_seconds;
  // By its offset, or by a leap second, it may be in another year than its text says.
  std::tm utc{};
  if (!::gmtime_r(&whole, &utc) || utc.tm_year < 1700 - 1900 || utc.tm_year > 2200 - 1900)
    return std::nullopt;
  return WallTime(
      std::chrono::seconds(whole) +
      std::chrono::duration_cast<WallClock::duration>(std::chrono::nanoseconds(nanoseconds)));
}

}  // namespace hako
