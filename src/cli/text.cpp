#include "cli/text.h"

#include <signal.h>

#include <algorithm>
#include <cctype>
#include <cstdio>
#include <cstring>

namespace hako::cli {
namespace {

std::string escape(std::string_view text, bool keep_layout) {
  std::string out;
  out.reserve(text.size());
  auto hex = [&](unsigned char byte) {
    char buffer[8];
    std::snprintf(buffer, sizeof buffer, "\\x%02x", byte);
    out += buffer;
  };
  for (size_t i = 0; i < text.size(); ++i) {
    auto byte = static_cast<unsigned char>(text[i]);
    if (keep_layout && (byte == '\n' || byte == '\t')) {
      out += text[i];
    } else if (byte < 0x20 || byte == 0x7f) {
      hex(byte);
    } else if (byte == 0xc2 && i + 1 < text.size() &&
               (static_cast<unsigned char>(text[i + 1]) & 0xe0) == 0x80) {
      // U+0080 to U+009F: among them CSI and OSC as single characters.
      hex(byte);
      hex(static_cast<unsigned char>(text[++i]));
    } else {
      out += text[i];
    }
  }
  return out;
}

bool same_name(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](unsigned char x, unsigned char y) {
    return std::tolower(x) == std::tolower(y);
  });
}

}  // namespace

std::string format_table(const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> widths;
  for (const auto& row : rows)
    for (size_t i = 0; i < row.size(); ++i) {
      if (i == widths.size()) widths.push_back(0);
      widths[i] = std::max(widths[i], row[i].size());
    }
  std::string out;
  for (const auto& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) {
      out += row[i];
      if (i + 1 < row.size()) out.append(widths[i] - row[i].size() + 2, ' ');
    }
    out += '\n';
  }
  return out;
}

std::string printable(std::string_view text) {
  return escape(text, true);
}
std::string printable_field(std::string_view text) {
  return escape(text, false);
}

std::string format_bytes(uint64_t bytes) {
  constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 1024 && unit + 1 < std::size(kUnits)) {
    value /= 1024;
    ++unit;
  }
  char buffer[32];
  bool whole = unit == 0 || value >= 100;
  std::snprintf(buffer, sizeof buffer, whole ? "%.0f %s" : "%.1f %s", value, kUnits[unit]);
  return buffer;
}

int passed_exit_status(int exit_code, bool exited, std::string_view status) {
  constexpr std::string_view kSignal = "signal: ";
  if (exited || !status.starts_with(kSignal)) return exit_code < 0 ? 125 : exit_code & 0xff;
  std::string_view name = status.substr(kSignal.size());
  // A core dump, or where it happened, may be told behind the name.
  if (size_t bracket = name.find(" ("); bracket != std::string_view::npos)
    name = name.substr(0, bracket);
  for (int number = 1; number < SIGRTMIN; ++number) {
    const char* short_name = ::sigabbrev_np(number);
    const char* long_name = ::sigdescr_np(number);
    if ((long_name && same_name(name, long_name)) || (short_name && same_name(name, short_name)) ||
        (short_name && name.size() > 3 && same_name(name.substr(0, 3), "sig") &&
         same_name(name.substr(3), short_name)) ||
        name == std::to_string(number))
      return 128 + number;
  }
  return 128 + SIGKILL;
}

}  // namespace hako::cli
