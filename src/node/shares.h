// Processor shares: VMMs of one tenant together weigh as much as those of another.
#pragma once

#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "config/config.h"
#include "jail/cgroup.h"

namespace hako::node {

/// Keeps the groups hako/<instance>/pool, for VMMs that are nobody's yet, and
/// hako/<instance>/tenant-<name>/box-<machine>. Where the machine's control groups cannot be used
/// it says so once, and VMMs run without shares. Blocking, as CgroupTree is. Any thread.
class Shares {
 public:
  explicit Shares(const config::Config& config) : config_(config) {}

  /// Makes the tree; until then, and if that fails, nothing else here does anything.
  void open();
  /// Where the VMM of `machine` is to be born: doors for jail::VmmJail::cgroups. `tenant` empty:
  /// nobody's yet.
  std::vector<Fd> enter(const std::string& machine, const std::string& tenant);
  /// Moves a VMM, which must not have been waited for yet, to what its tenant has.
  void move(const std::string& machine, const std::string& tenant, pid_t pid);
  /// The VMM has ended. Removes its group, and with the tenant's last one the tenant's.
  void leave(const std::string& machine);
  /// Removes the groups of machines that are not among `machines`, this time and the time before,
  /// as far as they hold no processes, and counts them.
  int sweep(const std::set<std::string>& machines);
  /// Removes what holds no processes.
  void close();

 private:
  Result<void> make(const std::string& machine, const std::string& tenant);

  const config::Config& config_;
  std::mutex mutex_;
  std::optional<jail::CgroupTree> tree_;
  std::map<std::string, std::string> tenants_;  ///< of machines that have a group
  std::set<std::string> suspects_;  ///< groups that were nobody's when it was last swept
};

/// Removes the groups that earlier runs left, all but those of `kept` machines, and counts them.
int sweep_shares(const config::Config& config, const std::set<std::string>& kept);

}  // namespace hako::node
