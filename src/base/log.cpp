#include "base/log.h"

#include <boost/json.hpp>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <memory>
#include <string>

#include "base/clock.h"

namespace hako {
namespace {

constexpr size_t kLongestField = 2048;

struct Logger {
  std::string component = "hako";
  std::shared_ptr<spdlog::logger> sink;

  Logger() : sink(spdlog::create<spdlog::sinks::stderr_sink_mt>("hako")) {
    sink->set_pattern("%v");
    sink->set_level(spdlog::level::info);
    sink->flush_on(spdlog::level::debug);
  }
};

Logger& logger() {
  static Logger instance;
  return instance;
}

spdlog::level::level_enum spdlog_level(LogLevel level) {
  switch (level) {
    case LogLevel::debug: return spdlog::level::debug;
    case LogLevel::info: return spdlog::level::info;
    case LogLevel::warn: return spdlog::level::warn;
    case LogLevel::error: return spdlog::level::err;
  }
  return spdlog::level::info;
}

std::string_view name_of(LogLevel level) {
  switch (level) {
    case LogLevel::debug: return "debug";
    case LogLevel::info: return "info";
    case LogLevel::warn: return "warn";
    case LogLevel::error: return "error";
  }
  return "info";
}

}  // namespace

void start_logging(std::string_view component, LogLevel level) {
  logger().component = component;
  logger().sink->set_level(spdlog_level(level));
}

LogLevel log_level_from(std::string_view name) {
  for (LogLevel level : {LogLevel::debug, LogLevel::info, LogLevel::warn, LogLevel::error})
    if (name == name_of(level)) return level;
  return LogLevel::info;
}

void log(LogLevel level, std::string_view event, boost::json::object fields) {
  Logger& out = logger();
  if (!out.sink->should_log(spdlog_level(level))) return;
  boost::json::object line;
  line["time"] = rfc3339_now();
  line["level"] = name_of(level);
  line["component"] = out.component;
  line["event"] = event;
  for (auto& [key, value] : fields) {
    if (value.is_string() && value.get_string().size() > kLongestField)
      value = std::string(value.get_string().c_str(), kLongestField) + "...";
    line[key] = std::move(value);
  }
  out.sink->log(spdlog_level(level), "{}", boost::json::serialize(line));
}

}  // namespace hako
