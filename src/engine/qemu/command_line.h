// What QEMU is told on its command line: a pure function.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "engine/engine.h"

namespace hako::engine {

/// Numbers of the descriptors in QEMU. It opens nothing else of ours, by whatever path.
struct QemuFds {
  static constexpr int memory = 3;
  static constexpr int control = 4;  ///< a listening unix socket
  static constexpr int rootfs = 5;
  static constexpr int scratch = 6;
  static constexpr int tap = 7;
  static constexpr int kernel = 8;  ///< only where a machine boots
  static constexpr int initrd = 9;  ///< only where a machine boots
};

/// Part of every fingerprint: raised whenever the devices, their order or their properties change,
/// because a device state fits only the devices it was saved from.
inline constexpr int kDeviceLayout = 2;

struct QemuSpec {
  std::string binary;
  std::string label;  ///< for process lists; any text
  Isolation isolation = Isolation::emulated;
  MachineSize size;
  std::string mac;
  DiskRate disk_rate;
  /// Boots with this kernel command line. Nothing: restores, from a state sent later.
  std::optional<std::string> kernel_cmdline;
};

/// argv, argv[0] included. The machine is stopped until told to run. A booting machine and its
/// clones get the same devices in the same order; only the start of a boot differs.
std::vector<std::string> qemu_command_line(const QemuSpec& spec);

/// The kernel arguments that the machine itself needs, then `extra`.
std::string kernel_command_line(Isolation isolation, int64_t tsc_khz, const std::string& extra);

/// Errors: invalid_argument for sizes that no machine can have and for what is not a MAC address.
Result<void> validate(const MachineSize& size, const std::string& mac);

}  // namespace hako::engine
