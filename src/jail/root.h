// Roots of our own: a process sees nothing of this machine's files but what its list names.
#pragma once

#include <vector>

#include "base/fd.h"

namespace hako::jail {

/// A file or folder of this machine. It appears at its own path, never setuid, and without devices
/// (but for what is `device`).
struct Shown {
  enum class As { read_only, program, writable, device };
  std::string path;  ///< absolute; what does not exist is left out
  As as = As::read_only;
  bool with_mounts = false;  ///< also what is mounted below it
};

/// A mount namespace whose root holds what is `shown`, a /proc that shows only one's own processes,
/// and nothing else. Join it with setns(). Nothing of it shows outside.
/// Needs root; also where "/" is a plain folder (a chroot).
Result<Fd> make_root(const std::vector<Shown>& shown);

/// Puts the calling thread, the only one of its process, into such a root for good. Its open
/// descriptors stay. If it fails half-way, end the process.
Result<void> enter_root(const std::vector<Shown>& shown);

}  // namespace hako::jail
