// The system calls of a VMM.
#pragma once

#include <linux/filter.h>

#include <vector>

#include "base/result.h"

namespace hako::jail {

/// What QEMU's microvm machine needs, from its first instruction to its end: files by path only to
/// read what its root shows, no new sockets, no processes, and one exec: that whose sixth argument
/// is `exec_mark`. What is not listed fails with EPERM; what only an exploit asks for ends the VMM.
/// `kvm`: the calls of that device, too.
Result<std::vector<sock_filter>> vmm_filter(bool kvm, uint64_t exec_mark);

}  // namespace hako::jail
