// The root that VMMs see.
#pragma once

#include "base/async/task.h"

#include "base/fd.h"
#include "jail/root.h"

namespace hako::jail {

/// What running `program` (absolute) needs of this machine's files: itself, its loader and its
/// libraries, each by name, and the folders with QEMU's firmware and modules of the same
/// installation. With `kvm`, that device too.
/// Errors: those of opening the program; failed_precondition when its loader cannot list.
Result<std::vector<Shown>> files_of_vmm(asio::any_io_executor executor, const std::string& program,
                                        bool kvm);

}  // namespace hako::jail
