// One JSON object per line on standard error.
#pragma once

#include <boost/json/object.hpp>

#include <string_view>

namespace hako {

/// error: a user's action failed through our fault; warn: odd but served; info: rare state change;
/// debug: for developers. Threshold from start_logging(), default info.
enum class LogLevel { debug, info, warn, error };

/// Names this process in every line; call once, in main. `level` is the lowest that is written.
void start_logging(std::string_view component, LogLevel level);
/// debug|info|warn|error; anything else gives info.
LogLevel log_level_from(std::string_view name);

/// Writes {"time","level","component","event",...fields}. Text is escaped, so no field can forge a
/// line; fields longer than 2 KiB are cut. Secrets must not be passed. Thread-safe.
void log(LogLevel level, std::string_view event, boost::json::object fields = {});

inline void log_debug(std::string_view event, boost::json::object fields = {}) {
  log(LogLevel::debug, event, std::move(fields));
}
inline void log_info(std::string_view event, boost::json::object fields = {}) {
  log(LogLevel::info, event, std::move(fields));
}
inline void log_warn(std::string_view event, boost::json::object fields = {}) {
  log(LogLevel::warn, event, std::move(fields));
}
inline void log_error(std::string_view event, boost::json::object fields = {}) {
  log(LogLevel::error, event, std::move(fields));
}

}  // namespace hako
