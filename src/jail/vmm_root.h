// The file system that VMM processes see.
#pragma once

#include "base/fd.h"

namespace hako::jail {

/// Makes a mount namespace whose root is an empty, read-only tmpfs with /usr (read-only, no setuid,
/// no devices), a /proc of its own that hides other users' processes, and /dev/null, /dev/urandom
/// and /dev/kvm where the host has it. Nothing in it can be written, so all VMMs share one; joining
/// costs far less than making one each. Lasts as long as the descriptor or a process in it.
/// Needs root. Blocking (a few ms).
Result<Fd> make_vmm_root();

}  // namespace hako::jail
