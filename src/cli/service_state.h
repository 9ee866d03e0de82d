// What `hako up` has started on this machine, as later commands find it.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "config/config.h"

namespace hako::cli {

/// A process by pid and start time: a name that is never used twice.
struct ProcessName {
  pid_t pid = 0;
  uint64_t start_time = 0;
};

struct RoleState {
  std::string name;      ///< node, gate or api
  ProcessName process;   ///< pid 0 while it is down
  int restarts = 0;      ///< how often it has ended by itself
  std::string last_end;  ///< how it ended last: "exit status 1"
};

struct ServiceState {
  ProcessName supervisor;
  std::vector<RoleState> roles;
};

std::string state_path(const config::Config& config);
std::string log_directory(const config::Config& config);
std::string log_path(const config::Config& config, const std::string& name);

Result<void> save_state(const config::Config& config, const ServiceState& state);
/// Nothing if hako has not been started. corrupted for a file that is not ours.
Result<std::optional<ServiceState>> load_state(const config::Config& config);
std::string state_to_json(const ServiceState& state);
Result<ServiceState> state_from_json(std::string_view text);

bool is_alive(const ProcessName& process);

/// The last `lines` lines of a log, from its last 64 KiB. Empty if there is none.
std::string log_tail(const std::string& path, size_t lines);
/// Keeps `path` below `limit` bytes: past it, the content moves to <path>.1 and the file starts
/// afresh. Its writers append, so they need not know.
Result<void> bound_log(const std::string& path, off_t limit);

}  // namespace hako::cli
