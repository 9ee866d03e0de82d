// The log of this program: base/log.h without the library that has no static form.
#include <boost/json/serialize.hpp>

#include <string>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"

namespace hako {
namespace {

constexpr size_t kLongestField = 2048;

std::string& component() {
  static std::string name = "hako";
  return name;
}
LogLevel threshold = LogLevel::info;

std::string_view name_of(LogLevel level) {
  switch (level) {
    case LogLevel::debug:
      return "debug";
    case LogLevel::info:
      return "info";
    case LogLevel::warn:
      return "warn";
    case LogLevel::error:
      return "error";
  }
  return "info";
}

}  // namespace

void start_logging(std::string_view name, LogLevel level) {
  component() = name;
  threshold = level;
}

LogLevel log_level_from(std::string_view name) {
  for (LogLevel level : {LogLevel::debug, LogLevel::info, LogLevel::warn, LogLevel::error})
    if (name == name_of(level)) return level;
  return LogLevel::info;
}

void log(LogLevel level, std::string_view event, boost::json::object fields) {
  if (level < threshold) return;
  boost::json::object line;
  line["time"] = rfc3339_now();
  line["level"] = name_of(level);
  line["component"] = component();
  line["event"] = event;
  for (auto& [key, value] : fields) {
    if (value.is_string() && value.get_string().size() > kLongestField)
      value = std::string(value.get_string().c_str(), kLongestField) + "...";
    line[key] = std::move(value);
  }
  std::string text = boost::json::serialize(line);
  text += '\n';
  // Where the log goes nowhere there is nobody to tell.
  auto written = write_all(2, text);
  if (!written) return;
}

}  // namespace hako
