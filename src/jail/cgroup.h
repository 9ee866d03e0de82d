// Control groups: who shares processors with whom, and what processes may use together.
#pragma once

#include <sys/types.h>

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/fd.h"

namespace hako::jail {

/// What the processes of a group, and of those below it, may use together. A member that is nothing
/// leaves the kernel's own value; one whose controller the tree does not use is left out.
struct CgroupLimits {
  std::optional<int> cpu_weight;   ///< against its siblings, 1 to 10000; the kernel's own: 100
  std::optional<int> cpu_percent;  ///< of one processor, whether or not others want it
  std::optional<int64_t> memory_bytes;  ///< beyond it the kernel ends a process of the group
  bool no_swap = false;                 ///< memory_bytes are all it gets, where there is swap
  std::optional<int64_t> pids;          ///< processes and threads

  /// Of a device, in each direction. v1 counts what reads, and what writes past the page cache.
  struct Io {
    std::string device;  ///< "8:0": a whole disk
    int64_t bytes_per_second = 0;       ///< 0: no limit
    int64_t operations_per_second = 0;  ///< 0: no limit
  };
  std::optional<Io> io;
};

/// What a group has used.
struct MemoryUse {
  int64_t limit_bytes = 0;  ///< 0: none, or not known
  int64_t most_bytes = 0;   ///< the most at any time, caches included; 0: not known
  int64_t oom_kills = 0;    ///< processes of it that the kernel ended for want of memory
};

/// One hierarchy of groups that the kernel keeps. All controllers of v2 share one.
struct CgroupHierarchy {
  std::string mount;  ///< where it is mounted
  bool v2 = false;
  std::vector<std::string> controllers;  ///< of those that were asked for
  bool operator==(const CgroupHierarchy&) const = default;
};

/// The hierarchies that have `wanted` ("cpu", "memory", "pids", "io", ...), by the text of
/// /proc/self/mountinfo; what v1 calls "blkio" is "io" here, too; `v2_controllers` gives the text of cgroup.controllers at a mount of v2. A
/// controller that none has is not in the answer. Pure.
std::vector<CgroupHierarchy> find_hierarchies(
    std::string_view mountinfo, const std::vector<std::string>& wanted,
    const std::map<std::string, std::string>& v2_controllers);

/// What is written where for `limits`, in a hierarchy with these controllers: file and value. Pure.
std::vector<std::pair<std::string, std::string>> cgroup_settings(const CgroupHierarchy& hierarchy,
                                                                 const CgroupLimits& limits);

/// The groups below one name, the same in each hierarchy that is used: v2, v1, or some of each, as
/// the machine has them. Groups are named by paths below it, "tenant-a/box-1", of [a-z0-9._-]. On
/// v2 only groups without others below them may hold processes.
/// Nothing here is owned by the object: groups stay until they are removed. Blocking: the kernel
/// takes up to some ten milliseconds for a move. Any thread, but not two at once.
/// Errors: permission_denied and unsupported where groups cannot be used; invalid_argument for a
/// name; else the kernel's.
class CgroupTree {
 public:
  /// Finds where `wanted` are; unsupported if none is anywhere. Makes nothing yet. `name` is a path
  /// below the roots of the hierarchies.
  static Result<CgroupTree> open(std::string name, const std::vector<std::string>& wanted);

  /// The same groups, in the hierarchy of one controller only; nothing where that is nowhere.
  std::optional<CgroupTree> only(const std::string& controller) const;

  /// Makes the group, and those above it, if they are not there; sets its limits. "" is the tree's
  /// own top.
  Result<void> make(const std::string& group, const CgroupLimits& limits);
  /// Moves a process with all its threads there. What it has used of memory stays where it was.
  Result<void> add(const std::string& group, pid_t pid);
  /// For a child that goes there itself: it writes "0" to each of these before it has a second
  /// thread, which spares the kernel the wait of a move. Closed on exec.
  Result<std::vector<Fd>> doors(const std::string& group);
  /// The groups right below it, by name; none if it does not exist.
  std::vector<std::string> below(const std::string& group) const;
  bool exists(const std::string& group) const;
  /// Nothing known: all zero.
  MemoryUse memory_use(const std::string& group) const;
  /// Processes in it, not in those below.
  std::vector<pid_t> members(const std::string& group) const;
  /// Removes it with all below it. Missing is success. failed_precondition while there are
  /// processes in one of them, which then stays.
  Result<void> remove(const std::string& group);
  /// Removes the tree, and the folders above it in `name` if nobody else has something there.
  Result<void> remove_all();

  /// "cpu, memory (v1)", for people.
  std::string describe() const;

 private:
  CgroupTree(std::string name, std::vector<CgroupHierarchy> hierarchies)
      : name_(std::move(name)), hierarchies_(std::move(hierarchies)) {}
  std::string folder(const CgroupHierarchy& hierarchy, const std::string& group) const;

  std::string name_;
  std::vector<CgroupHierarchy> hierarchies_;
};

}  // namespace hako::jail
