// What there is to read about a sandbox: its console, and what was done with it.
#pragma once

#include <deque>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace hako::api {

/// In order of how much they matter.
enum class Level { debug, info, warn, error };
std::string_view to_string(Level level);
std::optional<Level> level_of(std::string_view name);

struct LogLine {
  int64_t time_ms = 0;
  Level level = Level::info;
  std::string source;  ///< "console" or "sandbox"
  std::string text;    ///< valid UTF-8 without control characters
};

/// Which lines to show.
struct LogQuery {
  std::optional<int64_t> cursor_ms;  ///< forward: from here on; backward: up to here
  size_t limit = 1000;
  bool backward = false;
  /// Whether too long a list loses its beginning (and not its end) when it goes forward.
  bool tail = false;
  Level least = Level::debug;
  std::string search;
};

/// `lines` are in order of time. Backward: the newest first.
std::vector<LogLine> select_lines(std::vector<LogLine> lines, const LogQuery& query);

/// `line` without what a terminal would obey: C0 and C1 controls, DEL. Tabs stay.
std::string without_controls(std::string_view line);

/// Console text as lines without control characters. Bytes that are not UTF-8 cannot occur, as the
/// text has come as JSON. A console has no clock: each line counts as written when the sandbox
/// started.
std::vector<LogLine> console_lines(std::string_view console, int64_t started_ms);

/// What was done with each sandbox, the latest of it, in memory only. Thread: one executor.
class Journal {
 public:
  static constexpr size_t kMostLines = 64;  ///< per sandbox
  static constexpr size_t kMostSandboxes = 8192;

  void note(const std::string& id, int64_t time_ms, std::string text);
  void drop(const std::string& id) { lines_.erase(id); }
  std::vector<LogLine> lines(const std::string& id) const;

 private:
  std::map<std::string, std::deque<LogLine>> lines_;
};

}  // namespace hako::api
