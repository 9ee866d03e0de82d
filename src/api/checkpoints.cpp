#include "api/checkpoints.h"

#include <algorithm>
#include <charconv>

#include "base/random.h"

namespace hako::api {
namespace {

constexpr std::string_view kPausePrefix = "p-";
constexpr std::string_view kSnapshotPrefix = "s-";
constexpr size_t kSnapshotLength = 20;

}  // namespace

std::string pause_checkpoint(const std::string& sandbox, int pauses) {
  return std::string(kPausePrefix) + sandbox + "-" + std::to_string(pauses);
}

std::optional<PauseName> parse_pause_checkpoint(std::string_view name) {
  if (!name.starts_with(kPausePrefix)) return std::nullopt;
  name.remove_prefix(kPausePrefix.size());
  size_t dash = name.rfind('-');
  if (dash == name.npos || dash == 0) return std::nullopt;
  PauseName parsed;
  parsed.sandbox = name.substr(0, dash);
  std::string_view digits = name.substr(dash + 1);
  auto [end, error] =
      std::from_chars(digits.data(), digits.data() + digits.size(), parsed.pauses);
  bool whole = error == std::errc() && end == digits.data() + digits.size() &&
               parsed.sandbox.find('-') == std::string::npos;
  if (!whole || parsed.pauses < 1 || digits.front() == '0') return std::nullopt;
  return parsed;
}

std::string new_snapshot_id() {
  return std::string(kSnapshotPrefix) + random_lower_alphanumeric(kSnapshotLength);
}

bool is_snapshot_id(std::string_view text) {
  if (!text.starts_with(kSnapshotPrefix)) return false;
  text.remove_prefix(kSnapshotPrefix.size());
  return text.size() == kSnapshotLength && std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
         });
}

std::optional<boost::json::object> on_end_json(const std::string& sandbox, int pauses,
                                               const SandboxOptions& options) {
  if (!options.auto_pause) return std::nullopt;
  boost::json::object on_end;
  on_end["then"] = "pause";
  on_end["memory"] = options.auto_pause_memory;
  on_end["checkpoint"] = pause_checkpoint(sandbox, pauses + 1);
  return on_end;
}

bool wakes_on_traffic(const store::SandboxRecord& record) {
  bool kept = record.state == store::SandboxState::paused ||
              record.state == store::SandboxState::resuming;
  return kept && record.with_memory && parse_options(record.options).auto_resume;
}

}  // namespace hako::api
