#include "policy/daemon_action.h"

#include <algorithm>
#include <array>

namespace hako::policy {
namespace {

constexpr std::string_view kFilesystem = "/filesystem.Filesystem/";

/// Methods of filesystem.Filesystem that change nothing in the box.
constexpr std::array<std::string_view, 6> kLooking{
    "Stat", "ListDir", "WatchDir", "CreateWatcher", "GetWatcherEvents", "RemoveWatcher"};
constexpr std::array<std::string_view, 3> kChanging{"MakeDir", "Move", "Remove"};

bool is_among(std::string_view word, const auto& words) {
  return std::ranges::find(words, word) != words.end();
}

}  // namespace

std::optional<Action> daemon_action(std::string_view method, std::string_view path) {
  bool reads = method == "GET" || method == "HEAD";
  bool writes = method == "POST" || method == "PUT";
  if (path == "/health" && reads) return std::nullopt;
  if (path == "/metrics" && reads) return Action::sandbox_read;
  if (path == "/files" && reads) return Action::files_read;
  if ((path == "/files" || path == "/files/compose") && writes) return Action::files_write;
  if (path.starts_with(kFilesystem) && writes) {
    std::string_view name = path.substr(kFilesystem.size());
    if (is_among(name, kLooking)) return Action::files_read;
    if (is_among(name, kChanging)) return Action::files_write;
  }
  // Processes and terminals, /envs, and what nobody knows.
  return Action::sandbox_exec;
}

}  // namespace hako::policy
