// Guest memory as a VMM's process has it: a private mapping of a snapshot's memory.
#pragma once

#include <sys/types.h>

#include <string_view>

#include "engine/memory_delta.h"

namespace hako::engine {

struct GuestMapping {
  uint64_t address = 0;  ///< in the VMM
  uint64_t bytes = 0;
};

/// Where the VMM `pid` has guest memory. Errors: failed_precondition (it shares it: not a clone, or
/// has none), permission_denied, unavailable (it has gone).
Result<GuestMapping> find_guest_memory(pid_t pid);
/// The same from the text of a maps file.
Result<GuestMapping> guest_memory_from(std::string_view maps);

/// Pages that the VMM no longer shares with its snapshot: whatever was written to, by the guest or
/// by write_pages(). Blocking: some 5 ms for each GiB of guest memory. Errors: as above.
Result<std::vector<PageRun>> private_pages(pid_t pid, const GuestMapping& memory);

/// Copies pages out of a VMM that stands still, one run after another. Blocking.
/// Errors: permission_denied (also by Yama's ptrace_scope 3), unavailable.
/// The caller sees to it that `pid` is still the same process, afterwards (read) or all the
/// time (write).
Result<void> read_pages(pid_t pid, const GuestMapping& memory, const std::vector<PageRun>& runs,
                        std::byte* to);
/// Puts the pages of `delta` into a VMM that has not run yet. Blocking: some 1 ms for each MiB.
/// Errors: as read_pages; corrupted (a delta that does not fit).
Result<void> write_pages(pid_t pid, const GuestMapping& memory, const MemoryDelta& delta);

}  // namespace hako::engine
