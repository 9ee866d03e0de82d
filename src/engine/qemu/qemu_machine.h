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

class QemuMachine final : public Machine {
 public:
  QemuMachine(QemuProcess started, Duration timeout)
      : qemu_(std::move(started)), timeout_(timeout) {}
  ~QemuMachine() override;
  QemuMachine(const QemuMachine&) = delete;
  QemuMachine& operator=(const QemuMachine&) = delete;

  MachineRecord record() const override;
  Task<Result<void>> pause() override;
  Task<Result<void>> resume() override;
  Task<Result<void>> check_health() override;
  Task<Result<std::string>> console_tail() override;
  Task<void> kill() override;
  Task<ExitStatus> wait_end() override;
  void release() override;

  /// First call on a machine that boots: sets it running.
  Task<Result<void>> begin(Duration limit);
  /// First call on a machine that was started to be restored. `limit` is for QEMU to start and
  /// answer. Errors: corrupted (QEMU refused the state), timed_out, unavailable.
  Task<Result<void>> load(const std::string& state, Duration limit);
  /// First call on an adopted machine.
  Task<Result<void>> greet();
  /// Stops the machine and returns its device state, memory excluded. It cannot run again.
  Task<Result<std::string>> save();
  /// Asks QEMU to end, insists after a while, and waits until it has gone.
  Task<void> quit();

 private:
  Task<Result<void>> wait_started(Duration limit);
  Task<Result<std::string>> run_state();
  Task<Result<void>> order(std::string command);
  /// `error`, with what became of QEMU and what it wrote last.
  Error explain(Error error);

  QemuProcess qemu_;
  Duration timeout_;
  std::string console_;
  bool released_ = false;
};

}  // namespace hako::engine
