// Guest memory in memfds: written by one machine, then sealed and mapped privately by its clones.
#pragma once

#include "base/fd.h"

namespace hako::engine {

/// By it a mapping of one is told from others in /proc/PID/maps.
inline constexpr char kGuestMemoryName[] = "hako-guest-memory";

/// A fresh one, all zero. Errors: the OS error.
Result<Fd> make_memory_file(int mib);
/// Makes it immutable for good, for every process that has it. No writable shared mapping may be
/// left. Errors: failed_precondition (size), or the OS error (EBUSY: still mapped).
Result<void> seal_memory_file(int fd, int mib);
/// failed_precondition unless it is sealed and has that size: a clone of an unsealed one could
/// change all others.
Result<void> check_sealed(int fd, int mib);

}  // namespace hako::engine
