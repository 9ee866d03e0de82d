// One command in a box, with its streams.
#pragma once

#include <optional>

#include "base/async/task_group.h"
#include "cli/box.h"
#include "cli/streams.h"
#include "wire/connect.h"
#include "wire/process.h"

namespace hako::cli {

struct CommandStreams {
  ByteSource* in = nullptr;  ///< null: the command reads from /dev/null
  ByteSink* out = nullptr;   ///< null: dropped
  ByteSink* err = nullptr;
};

/// Starts a command, streams until it ends, and tells the exit status to pass on. Nothing is
/// gathered: input waits for the box, output for its sink.
class Session {
 public:
  Session(asio::any_io_executor executor, BoxAccess box, std::string user);

  struct Spec {
    wire::StartRequest start;
    std::optional<std::chrono::seconds> timeout;  ///< then the box kills it
  };
  /// Exit status as a shell has it; 126 or 127 if the command cannot be run, which `problem()`
  /// explains. Errors: the box or the connection failed, or a sink did (os_error() tells EPIPE).
  /// Cancel: safe; the command goes on in the box. May be called once.
  Task<Result<int>> run(Spec spec, CommandStreams streams);

  /// Sends SIGTERM or SIGKILL to the command, if it has started.
  Task<Result<void>> send_signal(std::string name);
  /// Tells the box that the terminal is `size` now.
  Task<Result<void>> resize(wire::PtySize size);
  bool started() const { return pid_ != 0; }
  const std::string& problem() const { return problem_; }

 private:
  Task<Result<int>> follow(Spec spec, CommandStreams streams);
  Task<Result<std::optional<int>>> take_frames(CommandStreams streams);
  Task<void> pump_input(ByteSource* in, bool to_pty);
  wire::ProcessSelector self() const;

  BoxAccess box_;
  std::string user_;
  Connection stream_;
  BoxClient input_;  // input waits here for the box, so other calls have another connection
  BoxClient control_;
  TaskGroup tasks_;
  wire::FrameDecoder decoder_;
  uint32_t pid_ = 0;
  bool to_pty_ = false;
  std::optional<int> status_;
  std::string problem_;
};

/// 126, 127 or nothing for why a command did not start.
std::optional<int> start_failure_status(const Error& error);

}  // namespace hako::cli
