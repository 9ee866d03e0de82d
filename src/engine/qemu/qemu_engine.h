// QEMU's microvm machine, under KVM or emulation.
#pragma once

#include "engine/engine.h"

namespace hako::engine {

struct QemuOptions {
  std::string binary = "/usr/bin/qemu-system-x86_64";
  AccelMode accel = AccelMode::automatic;
  /// For hosts whose KVM runs only kernels made for it: takes KVM as usable when a machine can be
  /// created at all. Whether the operator's kernel runs there, booting it decides.
  bool skip_instruction_probe = false;
  std::chrono::milliseconds probe_limit{500};       ///< for the whole instruction probe
  Launcher launcher;                                ///< required
  std::chrono::milliseconds control_timeout{5000};  ///< for each exchange with a running VMM
  std::chrono::milliseconds start_timeout{15000};   ///< from starting a VMM to its answer
};

/// Probes the machine (see kvm_probe.h), reads QEMU's build, and makes the engine.
/// Errors: not_found (no QEMU: says which package has it), unsupported (`kvm` asked for and not
/// usable: says why).
Task<Result<std::unique_ptr<Engine>>> make_qemu_engine(QemuOptions options);

}  // namespace hako::engine
