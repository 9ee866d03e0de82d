#include "guest/remedies.h"

#include <string>

#include "base/fd.h"

namespace hako::guest {
namespace {

constexpr std::string_view name_of(Remedy remedy) {
  switch (remedy) {
    case Remedy::freeze:
      return "freeze";
    case Remedy::reseed:
      return "reseed";
    case Remedy::clock:
      return "clock";
    case Remedy::names:
      return "names";
    case Remedy::connections:
      return "connections";
    case Remedy::generation:
      return "generation";
  }
  return "";
}

const std::string& command_line() {
  static const std::string line = [] {
    auto text = read_file("/proc/cmdline");
    return text ? std::move(text).value() : std::string();
  }();
  return line;
}

}  // namespace

bool has_word(std::string_view line, std::string_view word) {
  while (!line.empty()) {
    size_t end = line.find_first_of(" \n");
    if (line.substr(0, end) == word) return true;
    line.remove_prefix(end == std::string_view::npos ? line.size() : end + 1);
  }
  return false;
}

bool is_taken_out(Remedy remedy) {
  // Machines boot without any: most never build the word.
  if (command_line().find("hako.test_skip_") == std::string::npos) return false;
  return has_word(command_line(), "hako.test_skip_" + std::string(name_of(remedy)) + "=1");
}

}  // namespace hako::guest
