// Spans of time as people type them.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

#include "base/result.h"

namespace hako::cli {

/// "30s", "5m", "2h", "1d", "1h30m", or a bare number of seconds. More than nothing, at most 30
/// days. Errors: invalid_argument, with what was expected.
Result<std::chrono::seconds> parse_duration(std::string_view text);

/// The shortest text that parse_duration reads back: "90s" is "1m30s".
std::string format_duration(std::chrono::seconds span);

}  // namespace hako::cli
