// The processes clients have started, and who listens to them.
#pragma once

#include <chrono>
#include <deque>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "base/async/task_group.h"
#include "base/async/turn_queue.h"
#include "guest/spawn.h"
#include "wire/process.h"

namespace hako::guest {

class ProcessTable;

/// A client attached to a process. Collects frames until its stream takes them.
class Subscription {
 public:
  explicit Subscription(asio::any_io_executor executor)
      : wake_(executor, asio::steady_timer::time_point::max()) {}

  /// Waits until frames are there or the process has ended; false after `limit` without either.
  Task<bool> wait(Duration limit);
  /// Takes all frames collected so far into `frames`, whose old content is dropped.
  void take(std::string& frames);
  bool ended() const { return ended_; }

 private:
  friend class Process;
  void notify() { wake_.cancel(); }

  asio::steady_timer wake_;
  std::string pending_;
  bool ended_ = false;
};

/// One process, from its start until 30 s after its end. Shared by the table and those attached.
/// Output is read only as fast as the slowest subscriber takes it, and dropped when there is none.
class Process : public std::enable_shared_from_this<Process> {
 public:
  Process(asio::any_io_executor executor, pid_t pid, wire::StartRequest request);

  pid_t pid() const { return pid_; }
  const wire::ProcessConfig& config() const { return request_.process; }
  const std::optional<std::string>& tag() const { return request_.tag; }
  bool has_terminal() const { return request_.pty.has_value(); }
  /// All output has been passed on and the end event sent.
  bool ended() const { return end_.has_value(); }
  bool deadline_passed() const { return deadline_passed_; }

  /// Attaches. The first frame is the start event; of an ended process the end event follows.
  std::shared_ptr<Subscription> subscribe();
  void unsubscribe(const std::shared_ptr<Subscription>& subscription);
  /// To be called after Subscription::take(): output may flow again.
  void room_made() { room_.notify_all(); }

  /// Writes all of `bytes`, which must stay valid, to the process; waits while it does not read.
  /// The inputs of several callers do not mix. Errors: internal (no such input, or closed).
  /// Cancel: a part may have been written.
  Task<Result<void>> write_input(bool to_pty, std::string_view bytes);
  /// failed_precondition for a terminal. Closing twice is no error.
  Result<void> close_input();
  Result<void> send_signal(int signal);
  Result<void> resize(const wire::PtySize& size);

 private:
  friend class ProcessTable;
  using Descriptor = asio::posix::stream_descriptor;

  /// The deadline after which the process is killed.
  void kill_after(Duration limit);
  Task<void> read_output(wire::OutputStream stream, std::shared_ptr<Descriptor> from);
  /// Reads once without waiting: how much, -1 for nothing yet, 0 at the end of the stream.
  ssize_t read_available(wire::OutputStream stream, int fd, size_t most);
  void publish(wire::OutputStream stream, std::string_view bytes);
  bool has_room() const;
  void exited(int code, int signal);
  void finish_if_complete();
  /// What is in the pipes now is the last that will be told.
  void drain();
  void finish();

  asio::any_io_executor executor_;
  pid_t pid_;
  wire::StartRequest request_;
  std::list<std::shared_ptr<Subscription>> subscribers_;
  Condition room_;
  std::vector<std::pair<wire::OutputStream, std::shared_ptr<Descriptor>>> outputs_;
  size_t open_outputs_ = 0;
  Fd input_;                                  ///< pipe to the process, non-blocking
  std::shared_ptr<Descriptor> input_waiter_;  ///< made of input_ once it has been full
  std::shared_ptr<Descriptor> master_;        ///< of the terminal
  TurnQueue input_turn_;
  bool pipe_enlarged_ = false;
  bool signalled_ = false, deadline_passed_ = false;
  std::optional<wire::ProcessEnd> exit_;  ///< the process itself has gone
  std::optional<wire::ProcessEnd> end_;
  std::optional<asio::steady_timer> deadline_;
  ProcessTable* table_ = nullptr;
};

class ProcessTable {
 public:
  struct Limits {
    size_t running = 1024;
    size_t remembered = 1024;  ///< ended ones
    std::chrono::seconds remember_for{30};
  };

  ProcessTable(asio::any_io_executor executor, Limits limits);
  ~ProcessTable();

  struct StartOptions {
    wire::StartRequest request;
    User user;
    std::vector<gid_t> groups;
    std::vector<std::string> env;
    std::string search_path;
    std::string cwd;
    bool change_user = true;
    bool reset_oom_score = false;
    int group = -1;  ///< SpawnPlan::group
    std::optional<Duration> deadline;
  };
  /// Errors: resource_exhausted (too many processes), and those of find_program() and spawn().
  Result<std::shared_ptr<Process>> start(StartOptions options);

  /// Running, or ended less than 30 s ago. not_found.
  Result<std::shared_ptr<Process>> find(const wire::ProcessSelector& selector);
  /// Those that have not ended.
  std::vector<std::shared_ptr<Process>> running() const;

  /// Collects ended children, ours and adopted ones, until cancelled. SIGCHLD must be blocked.
  Task<void> reap_children();
  /// Ends all tasks. Processes go on.
  Task<void> stop();

 private:
  friend class Process;
  void reap_all();
  void ended(std::shared_ptr<Process> process);
  void forget_old();

  asio::any_io_executor executor_;
  Limits limits_;
  TaskGroup tasks_;
  std::map<pid_t, std::shared_ptr<Process>> processes_;
  size_t running_ = 0;
  std::deque<std::pair<std::chrono::steady_clock::time_point, std::shared_ptr<Process>>> ended_;
  asio::steady_timer forget_timer_;
  bool forget_timer_set_ = false;
};

}  // namespace hako::guest
