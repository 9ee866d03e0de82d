#include "cli/duration.h"

#include <charconv>

namespace hako::cli {
namespace {

constexpr int64_t kLongest = 30 * 86400;

int64_t seconds_of(char unit) {
  switch (unit) {
    case 's':
      return 1;
    case 'm':
      return 60;
    case 'h':
      return 3600;
    case 'd':
      return 86400;
    default:
      return 0;
  }
}

Error malformed(std::string_view text) {
  return Error(ErrorCode::invalid_argument,
               "'" + std::string(text) + "' is not a duration: write it like 30s, 5m, 2h or 1h30m");
}

}  // namespace

Result<std::chrono::seconds> parse_duration(std::string_view text) {
  int64_t total = 0;
  int64_t last_unit = INT64_MAX;
  std::string_view rest = text;
  if (rest.empty()) return malformed(text);
  while (!rest.empty()) {
    int64_t count = 0;
    auto [end, failed] = std::from_chars(rest.data(), rest.data() + rest.size(), count);
    if (failed != std::errc{} || count < 0 || end == rest.data()) return malformed(text);
    rest.remove_prefix(static_cast<size_t>(end - rest.data()));
    int64_t unit = 1;
    if (rest.empty()) {
      // A number alone is seconds; behind other parts it would be a guess.
      if (total != 0) return malformed(text);
    } else {
      unit = seconds_of(rest.front());
      if (unit == 0 || unit >= last_unit) return malformed(text);
      rest.remove_prefix(1);
    }
    last_unit = unit;
    if (count > kLongest) count = kLongest + 1;
    total += count * unit;
    if (total > kLongest)
      return Error(ErrorCode::invalid_argument, "'" + std::string(text) + "' is more than 30 days");
  }
  if (total == 0)
    return Error(ErrorCode::invalid_argument,
                 "'" + std::string(text) + "' is no time at all: the least is 1s");
  return std::chrono::seconds(total);
}

std::string format_duration(std::chrono::seconds span) {
  int64_t left = span.count();
  if (left <= 0) return "0s";
  std::string text;
  for (auto [unit, size] : {std::pair{'d', 86400}, {'h', 3600}, {'m', 60}, {'s', 1}}) {
    if (left >= size) text += std::to_string(left / size) + unit;
    left %= size;
  }
  return text;
}

}  // namespace hako::cli
