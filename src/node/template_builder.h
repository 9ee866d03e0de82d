// From a cold boot to a snapshot, step by step.
#pragma once

#include "node/vm.h"

namespace hako::node {

/// What runs in a template when it is captured, and so lives on in every box of it.
struct Startup {
  GuestDefaults defaults;  ///< the programs are started with these
  std::string start_cmd;   ///< for a shell; empty: none
  std::string ready_cmd;   ///< run until it succeeds; empty: ready at once
};

/// A booted machine whose guest answers. Tries again when a boot hangs, as emulated ones sometimes
/// do. Errors: timed_out with the end of the guest's console.
Task<Result<std::unique_ptr<Vm>>> boot_guest(Context& context, const Vm::ColdBoot& boot);

/// Runs what nearly every box will need, so that it is in the page cache all clones share, and then
/// ends every program but the guest's daemon: what a build step left running is no part of it.
Task<Result<void>> settle_guest(Context& context, Vm& vm);

/// Has the guest write everything to its disk.
Task<Result<void>> sync_guest(Context& context, Vm& vm);

/// Ends all connections, takes the snapshot and the scratch disk, which `disk` receives. The Vm is
/// destroyed, whatever the outcome.
Task<Result<engine::Snapshot>> capture_guest(Context& context, std::unique_ptr<Vm> vm,
                                             std::string disk);

/// All of it for a template that was built before: boots, settles, starts its programs, captures.
Task<Result<engine::Snapshot>> make_snapshot(Context& context, Vm::ColdBoot boot, Startup startup,
                                             std::string disk);

}  // namespace hako::node
