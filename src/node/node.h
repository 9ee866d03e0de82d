// The node role: owns the virtual machines of one host.
#pragma once

#include "base/async/task.h"
#include "config/config.h"

namespace hako::node {

/// Runs until cancelled: finds the boxes of an earlier run, makes the default template, keeps its
/// pool, serves api and gate. Boxes outlive it. Needs root.
/// Errors: what keeps it from starting (no QEMU, no image, KVM demanded and unusable, ...).
enum class NodeEnd {
  stopped,
  start_again,  ///< another start will choose otherwise (see kvm_trial.h)
};
Task<Result<NodeEnd>> run_node(const config::Config& config);

/// Ends every box and removes everything a node has ever made on this host but its templates and
/// snapshots. The node must not be running. Blocking.
Result<void> clean_up(const config::Config& config);

}  // namespace hako::node
