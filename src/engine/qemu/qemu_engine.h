// QEMU's microvm machine, under KVM or emulation.
#pragma once

#include "engine/engine.h"

namespace hako::engine {

struct QemuOptions {
  std::string binary = "/usr/bin/qemu-system-x86_64";
  AccelMode accel = AccelMode::automatic;
  Launcher launcher;  ///< required
  std::chrono::milliseconds control_timeout{5000};  ///< for each exchange with the VMM
};

/// Probes the machine (see kvm_probe.h), reads QEMU's build, and makes the engine.
/// Errors: not_found (no QEMU: says which package has it), unsupported (`kvm` asked for and not
/// usable: says why), permission_denied (/dev/kvm).
Task<Result<std::unique_ptr<Engine>>> make_qemu_engine(QemuOptions options);

}  // namespace hako::engine
