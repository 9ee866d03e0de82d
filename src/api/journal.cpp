#include "api/journal.h"

#include <algorithm>
#include <array>

namespace hako::api {
namespace {

constexpr std::array<std::string_view, 4> kLevelNames{"debug", "info", "warn", "error"};

}  // namespace

std::string without_controls(std::string_view line) {
  std::string text;
  for (size_t i = 0; i < line.size(); ++i) {
    auto byte = static_cast<unsigned char>(line[i]);
    bool c1 = byte == 0xc2 && i + 1 < line.size() && static_cast<unsigned char>(line[i + 1]) < 0xa0;
    if (c1) {
      ++i;
    } else if ((byte >= 0x20 && byte != 0x7f) || byte == '\t') {
      text += line[i];
    }
  }
  return text;
}

std::string_view to_string(Level level) {
  return kLevelNames[static_cast<size_t>(level)];
}

std::optional<Level> level_of(std::string_view name) {
  auto found = std::find(kLevelNames.begin(), kLevelNames.end(), name);
  if (found == kLevelNames.end()) return std::nullopt;
  return static_cast<Level>(found - kLevelNames.begin());
}

std::vector<LogLine> select_lines(std::vector<LogLine> lines, const LogQuery& query) {
  auto unwanted = [&](const LogLine& line) {
    bool outside = query.cursor_ms && (query.backward ? line.time_ms > *query.cursor_ms
                                                      : line.time_ms < *query.cursor_ms);
    return outside || line.level < query.least || line.text.find(query.search) == std::string::npos;
  };
  std::erase_if(lines, unwanted);
  if (query.backward) std::reverse(lines.begin(), lines.end());
  if (lines.size() > query.limit) {
    auto surplus = static_cast<long>(lines.size() - query.limit);
    bool from_front = query.tail && !query.backward;
    if (from_front)
      lines.erase(lines.begin(), lines.begin() + surplus);
    else
      lines.erase(lines.end() - surplus, lines.end());
  }
  return lines;
}

std::vector<LogLine> console_lines(std::string_view console, int64_t started_ms) {
  std::vector<LogLine> lines;
  while (!console.empty()) {
    size_t end = std::min(console.find('\n'), console.size());
    LogLine line{started_ms, Level::info, "console", without_controls(console.substr(0, end))};
    console.remove_prefix(std::min(end + 1, console.size()));
    if (!line.text.empty()) lines.push_back(std::move(line));
  }
  return lines;
}

void Journal::note(const std::string& id, int64_t time_ms, std::string text) {
  // A sandbox may end while this is on its way, and then nobody drops its lines.
  if (lines_.size() >= kMostSandboxes && !lines_.count(id)) lines_.erase(lines_.begin());
  auto& lines = lines_[id];
  lines.push_back(LogLine{time_ms, Level::info, "sandbox", std::move(text)});
  if (lines.size() > kMostLines) lines.pop_front();
}

std::vector<LogLine> Journal::lines(const std::string& id) const {
  auto found = lines_.find(id);
  if (found == lines_.end()) return {};
  return {found->second.begin(), found->second.end()};
}

}  // namespace hako::api
