// The user's terminal, and the signals that end or resize things.
#pragma once

#include <termios.h>
#include <boost/asio/signal_set.hpp>

#include <optional>

#include "base/async/task.h"
#include "base/async/task_group.h"
#include "base/async/turn_queue.h"
#include "wire/process.h"

namespace hako::cli {

bool is_terminal(int fd);
/// Columns and rows of the terminal behind standard output, input or error; 80x24 without one.
wire::PtySize terminal_size();

/// Standard input in raw mode, so that every key goes to the box; put back at the end.
class RawMode {
 public:
  RawMode();
  RawMode(const RawMode&) = delete;
  RawMode& operator=(const RawMode&) = delete;
  ~RawMode();

 private:
  std::optional<termios> before_;
};

/// SIGINT, SIGTERM and SIGHUP as something to wait for, from construction on.
class Interrupts {
 public:
  explicit Interrupts(asio::any_io_executor executor);
  /// Starts listening. `tasks` must be stopped before this object goes.
  void start(TaskGroup& tasks);
  /// Completes with the first signal, also one that came before the call. Cancel: safe.
  Task<int> wait();
  /// Completes with a second signal.
  Task<int> wait_again();
  std::optional<int> received() const { return first_; }

 private:
  Task<void> listen();

  asio::signal_set signals_;
  Condition changed_;
  std::optional<int> first_, second_;
};

}  // namespace hako::cli
