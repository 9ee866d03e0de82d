// One QEMU process and its control channel.
#pragma once

#include "engine/engine.h"
#include "engine/qemu/qmp_client.h"

namespace hako::engine {

/// A VMM that has been started and whose control socket has been connected to.
struct QemuProcess {
  Process process;
  qmp::Client control;
  std::string control_path;
  Fd messages;  ///< what QEMU wrote to its standard error; none for an adopted one
};

/// Starts `argv` with `fds` (numbered as in command_line.h; the control socket is added here and
/// bound to `control_path`, mode 0600). Returns at once: QEMU has yet to answer.
/// Errors: already_exists (control_path), those of the launcher.
Result<QemuProcess> start_qemu(asio::any_io_executor executor, const Launcher& launcher,
                               std::vector<std::string> argv, std::vector<FdMapping> fds,
                               const std::string& control_path);

/// Threads for what blocks while a machine stands still or starts. Shared by an engine's machines.
using BlockingPool = std::shared_ptr<asio::thread_pool>;

class QemuMachine final : public Machine {
 public:
  /// `base`: as in MachineRecord.
  QemuMachine(QemuProcess started, Duration timeout, BlockingPool blocking, std::string base)
      : qemu_(std::move(started)),
        timeout_(timeout),
        blocking_(std::move(blocking)),
        base_(std::move(base)) {}
  ~QemuMachine() override;
  QemuMachine(const QemuMachine&) = delete;
  QemuMachine& operator=(const QemuMachine&) = delete;

  MachineRecord record() const override;
  Task<Result<void>> pause() override;
  Task<Result<void>> resume() override;
  Task<Result<void>> check_health() override;
  Task<Result<Checkpoint>> checkpoint(PausedWork paused_work) override;
  Task<Result<std::string>> console_tail() override;
  Task<void> kill() override;
  Task<ExitStatus> wait_end() override;
  void release() override;

  /// First call on a machine that boots: sets it running.
  Task<Result<void>> begin(Duration limit);
  /// First call on a machine that was started to be restored. `over`: pages of memory to put in
  /// first, or null. `limit` is for QEMU to start and answer. Errors: corrupted (QEMU refused the
  /// state), timed_out, unavailable; those of write_pages().
  Task<Result<void>> load(const std::string& state, const MemoryDelta* over, Duration limit);
  /// First call on an adopted machine.
  Task<Result<void>> greet();
  /// Stops the machine and returns its device state, memory excluded. It cannot run again.
  Task<Result<std::string>> save();
  /// Asks QEMU to end, insists after a while, and waits until it has gone.
  Task<void> quit();

 private:
  Task<Result<void>> wait_started(Duration limit);
  struct CheckpointRoom;
  Result<CheckpointRoom> prepare_checkpoint();
  Task<Result<Checkpoint>> checkpoint_paused(CheckpointRoom room, PausedWork paused_work);
  Task<Result<void>> stop_and_save_devices(int state_file);
  Task<Result<void>> fill_memory(const MemoryDelta& delta, Duration limit);
  Task<Result<std::string>> run_state();
  Task<Result<void>> order(std::string command);
  /// `error`, with what became of QEMU and what it wrote last.
  Error explain(Error error);

  QemuProcess qemu_;
  Duration timeout_;
  BlockingPool blocking_;
  std::string base_;
  std::string console_;
  bool released_ = false;
};

}  // namespace hako::engine
