// Keeps the roles of one machine running.
#pragma once

#include "base/async/task_group.h"
#include "base/process.h"
#include "base/start_signal.h"
#include "cli/service_state.h"

namespace hako::cli {

/// One program of hako's and how it is started.
struct Role {
  std::string name;
  std::string path;
  std::vector<std::string> arguments;
};

/// node, gate and api from `directory`, in the order in which they are started.
std::vector<Role> roles_of(const std::string& directory, const std::string& config_path);

/// The directory of the running program.
Result<std::string> program_directory();

/// Starts the roles, each in a session of its own with its output in a log, starts them again when
/// they end, and stops them in reverse order. One per machine: a lock sees to it.
class Supervisor {
 public:
  Supervisor(asio::any_io_executor executor, config::Config config, std::vector<Role> roles);

  /// Runs until SIGTERM or SIGINT, then stops the roles. Roles that an earlier supervisor left
  /// behind are ended first (the boxes of a node go on without it).
  /// Errors: already_exists (another supervisor runs), or what keeps it from starting.
  Task<Result<void>> run();

 private:
  struct Running {
    Role role;
    std::optional<Process> process;
  };
  /// Returns how the role has ended.
  Task<std::string> run_once(size_t index);
  Task<void> keep_running(size_t index);
  Task<void> bound_logs();
  Task<Result<void>> end_leftovers();
  /// The role waits until the signal is given: by then the state has to name it.
  Result<StartSignal> start(size_t index);
  /// Writes down what runs. Errors are logged, too.
  Result<void> publish();

  asio::any_io_executor executor_;
  config::Config config_;
  std::vector<Running> running_;
  ServiceState state_;
  TaskGroup tasks_;
  Fd lock_;
};

/// SIGTERM, and SIGKILL after `grace`; returns when the process has ended.
Task<void> end_process(Process& process, Duration grace);

}  // namespace hako::cli
