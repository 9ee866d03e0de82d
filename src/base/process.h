// Child processes with one owner each.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "base/async/task.h"
#include "base/fd.h"

namespace hako {

/// A descriptor of ours and the number it has in the child.
struct FdMapping {
  int ours;
  int childs;
};

struct ProcessSpec {
  std::string path;                ///< absolute
  std::vector<std::string> argv;   ///< argv[0] included
  std::vector<std::string> env;    ///< "K=V"; the whole environment
  std::vector<FdMapping> fds;      ///< 0, 1, 2 default to /dev/null; all others are closed
};

struct ExitStatus {
  int code = -1;    ///< exit code, or -1
  int signal = 0;   ///< ending signal, or 0
  bool known = true;///< false for an adopted process, whose status only its parent learns
  std::string describe() const;
};

/// A process known by pidfd. The destructor kills and reaps, unless release() was called: VMMs
/// outlive our restart and are found again by pid and start time.
class Process {
 public:
  Process(asio::any_io_executor executor, pid_t pid, Fd pidfd, uint64_t start_time, bool is_child);
  Process(Process&&) noexcept;
  Process& operator=(Process&&) noexcept;
  ~Process();

  pid_t pid() const { return pid_; }
  /// Clock ticks since boot at which it started (field 22 of /proc/PID/stat): with the pid, a name
  /// that is never used twice.
  uint64_t start_time() const { return start_time_; }

  /// After start_spawning(): returns when the program runs, or with the error of the step that failed.
  /// Cancel: safe, the process goes on. To be called once; at once true of one that spawn() made.
  Task<Result<void>> started();
  /// Waits for the end and reaps. Cancel: safe, the process goes on.
  Task<ExitStatus> wait();
  /// The same for with_deadline(), which takes what may fail.
  Task<Result<void>> wait_end();
  /// True once it has ended. Never blocks.
  bool ended();
  void send_signal(int signal);
  /// SIGKILL, again if need be, until it has ended, which the kernel guarantees soon.
  Task<void> kill();
  /// Leaves the process running when this object goes.
  void release();

  /// Takes over a process that an earlier run started. not_found if it has gone or the pid is now
  /// another's.
  static Result<Process> adopt(asio::any_io_executor executor, pid_t pid, uint64_t start_time);

 private:
  friend Result<Process> start_spawning(asio::any_io_executor, const struct ProcessSpec&,
                                        struct ChildSetup);
  void reap();
  pid_t pid_ = -1;
  uint64_t start_time_ = 0;
  bool is_child_ = true;
  bool owned_ = true;
  std::optional<ExitStatus> status_;
  std::unique_ptr<asio::posix::stream_descriptor> pidfd_;
  /// Where a child says why its program does not run; ends when it does.
  std::unique_ptr<asio::posix::stream_descriptor> failures_;
};

/// Field 22 of /proc/PID/stat. not_found also for a process that has ended and is only not reaped.
Result<uint64_t> process_start_time(pid_t pid);

/// Ran in the child between fork and exec, where only async-signal-safe calls are allowed.
/// `run` returns 0, or an errno value that spawn() reports with `what` as the failed step.
struct ChildSetup {
  int (*run)(void* context, const char** what) = nullptr;
  void* context = nullptr;
  /// Namespaces that the child is born into (CLONE_NEWPID: it is the first process there).
  unsigned long namespaces = 0;
  /// Sixth argument of the child's execve(), which the kernel does not look at; a filter may.
  uint64_t exec_mark = 0;
};

/// Starts a process. Errors: that of the failed step, exec included (not_found for a missing file).
Result<Process> spawn(asio::any_io_executor executor, const ProcessSpec& spec,
                      ChildSetup setup = {});
/// The same without waiting for it: Process::started() says how it went. For children that may be
/// long about it, as those are that enter a group with little of the processors.
Result<Process> start_spawning(asio::any_io_executor executor, const ProcessSpec& spec,
                               ChildSetup setup = {});

}  // namespace hako
