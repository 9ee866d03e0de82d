// Control groups of VMMs: those of one tenant together weigh as much as those of another, and none
// takes more of the host than it may.
#pragma once

#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "config/config.h"
#include "engine/engine.h"
#include "jail/cgroup.h"

namespace hako::node {

/// Keeps the groups hako/<instance>/pool/box-<machine>, for VMMs that are nobody's yet, and
/// hako/<instance>/tenant-<name>/box-<machine>, each with the limits of its machine
/// (machine_limits.h). Where the machine's control groups cannot be used at all, or cannot do a part of
/// it, it says so once, and all VMMs run without that; none starts without what the others have.
/// Blocking, as CgroupTree is. Any thread.
class Shares {
 public:
  explicit Shares(const config::Config& config) : config_(config) {}

  /// Makes the tree, where this machine has what that needs; until then nothing else here does anything.
  /// Errors: resource_exhausted and others that may pass, and say nothing of the machine.
  Result<void> open();
  /// Where the VMM of `machine` is to be born: doors for jail::VmmJail::cgroups; none where there is no
  /// tree. `tenant` empty: nobody's yet. Errors: invalid_argument (its name), or the OS error; what was
  /// made till then goes with leave().
  Result<std::vector<Fd>> enter(const std::string& machine, const std::string& tenant,
                        const engine::MachineSize& size);
  /// A machine of the pool is made: from now on it goes before those that are being made.
  void ready(const std::string& machine);
  /// Moves a VMM, which must not have been waited for yet, to what its tenant has. Where memory has
  /// a hierarchy of its own (v1) only its processor time is: what it has used so far stays counted.
  void move(const std::string& machine, const std::string& tenant, pid_t pid,
            const engine::MachineSize& size);
  /// Whether the kernel has ended the VMM for want of memory, in words for whoever had the box.
  /// Before leave().
  std::optional<std::string> out_of_memory(const std::string& machine);
  /// The VMM has ended. Removes its group, and with the tenant's last one the tenant's.
  void leave(const std::string& machine);
  /// Removes the groups of machines that are not among `machines`, this time and the time before,
  /// as far as they hold no processes, and counts them.
  int sweep(const std::set<std::string>& machines);
  /// Removes what holds no processes.
  void close();

 private:
  Result<void> find_limits();
  jail::CgroupLimits limits_of(const engine::MachineSize& size) const;
  /// All of it: one that was claimed may be in the pool's for its memory, and in its tenant's for
  /// its processor time; one of an earlier run may be anywhere.
  std::vector<std::string> groups_of(const std::string& machine) const;
  Result<void> make(jail::CgroupTree& tree, const std::string& machine, const std::string& tenant,
                    const engine::MachineSize& size);

  const config::Config& config_;
  std::mutex mutex_;
  std::optional<jail::CgroupTree> tree_;
  std::optional<jail::CgroupTree> weights_;  ///< of tree_, where processors are shared; or nothing
  std::string disk_;            ///< the number of the disk that boxes' are on; empty: no rates
  std::set<std::string> lacks_;  ///< limits that this machine's groups cannot keep
  std::set<std::string> suspects_;  ///< groups that were nobody's when it was last swept
};

/// Removes the groups that earlier runs left, all but those of `kept` machines, and counts them.
int sweep_shares(const config::Config& config, const std::set<std::string>& kept);

}  // namespace hako::node
