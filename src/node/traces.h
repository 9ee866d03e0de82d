// What can be seen of machines on this host: in the kernel and on disk, whoever made it.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "config/config.h"
#include "node/record.h"

namespace hako::node {

/// A process under one of the VMMs' uids.
struct VmmProcess {
  pid_t pid = 0;
  int slot = -1;  ///< whose uid it has
  bool operator==(const VmmProcess&) const = default;
};

/// Everything that only machines of this node leave. Blocking to make.
struct Traces {
  std::vector<VmmProcess> processes;
  std::set<std::string> folders;  ///< names in <state>/node/vms, each that of a machine
  std::set<std::string> sockets;  ///< names in <run>/vmm, each that of a machine
  std::vector<int> slots;         ///< namespaces by their numbers
  /// Of makings that were cut short, below <state>/node; paths. Whole ones have no dot in front.
  std::vector<std::string> unfinished;
};
/// Error: that of the first place that could not be looked at. What cannot be seen is not known to
/// be gone.
Result<Traces> find_traces(const config::Config& config);

/// Whether this process, by now, runs under the uid of that slot.
bool is_vmm(const config::Config& config, const VmmProcess& process);
/// Kills it and waits for its end, if it still is what it was. Blocking.
void kill_vmm(const config::Config& config, const VmmProcess& process);

}  // namespace hako::node
