// From a cold boot to a snapshot.
#pragma once

#include "node/vm.h"

namespace hako::node {

/// A command that a template build runs in the guest.
struct BuildStep {
  std::string command;  ///< for /bin/sh -c
  std::string user;     ///< empty: root
};

struct BuiltSnapshot {
  engine::Snapshot memory;
  std::string log;  ///< what the steps printed; hostile text
};

/// Boots, waits for the guest (trying again when a boot hangs, as emulated ones sometimes do), runs
/// the steps, warms what every box will need, and captures. `disk` receives the scratch disk.
/// Errors: timed_out with the end of the guest's console; failed_precondition with the output of
/// the step that failed.
Task<Result<BuiltSnapshot>> build_snapshot(Context& context, Vm::ColdBoot boot,
                                           std::vector<BuildStep> steps, std::string disk);

}  // namespace hako::node
