// Starting a VMM behind its walls.
#include <fcntl.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <mutex>

#include "jail/jail.h"
#include "jail/privileges.h"
#include "jail/vmm_root.h"
#include "jail/walls.h"

namespace hako::jail {
namespace {

// A VMM of ours holds about 15 descriptors and, with all its disk workers, about 70 threads.
constexpr unsigned long kMostDescriptors = 256;
constexpr unsigned long kMostThreads = 128;

/// What the child needs, prepared before the fork.
struct Plan {
  VmmJail jail;
  gid_t kvm_group;
  int root;
  unsigned left_out;
};

int enter_cgroups(const Plan& plan) {
  for (int door : plan.jail.cgroups) {
    if (::write(door, "0", 1) < 0) return errno;
  }
  return 0;
}

int join_network(const Plan& plan) {
  return ::setns(plan.jail.netns, CLONE_NEWNET) ? errno : 0;
}

int own_ipc_and_uts(const Plan&) {
  return ::unshare(CLONE_NEWIPC | CLONE_NEWUTS) ? errno : 0;
}

int enter_root(const Plan& plan) {
  return ::setns(plan.root, CLONE_NEWNS) ? errno : 0;
}

int limit_resources(const Plan&) {
  if (int error = forbid_core_dumps()) return error;
  if (int error = set_limit(RLIMIT_NOFILE, kMostDescriptors)) return error;
  return set_limit(RLIMIT_NPROC, kMostThreads);
}

int shrink_bounding_set(const Plan&) {
  return drop_bounding_set();
}

int change_user(const Plan& plan) {
  return become_user(plan.jail.uid, plan.jail.gid, plan.kvm_group);
}

int clear_capabilities(const Plan&) {
  return drop_capabilities();
}

int never_more_privileges(const Plan&) {
  return forbid_new_privileges();
}

struct Step {
  Wall wall;
  const char* what;
  int (*run)(const Plan&);
};

/// In this order: each of the first six needs privileges that a later one takes away.
constexpr Step kSteps[] = {
    {Wall::share, "enter its control groups", enter_cgroups},
    {Wall::network, "join the empty network namespace", join_network},
    {Wall::namespaces, "make ipc and uts namespaces", own_ipc_and_uts},
    {Wall::root, "enter the VMM's root", enter_root},
    {Wall::limits, "limit resources", limit_resources},
    {Wall::capabilities, "shrink the bounding set", shrink_bounding_set},
    {Wall::user, "change user", change_user},
    {Wall::capabilities, "drop capabilities", clear_capabilities},
    {Wall::no_new_privs, "forbid new privileges", never_more_privileges},
};

unsigned bit(Wall wall) {
  return 1u << static_cast<unsigned>(wall);
}

/// Runs in the child: async-signal-safe calls only.
int enter_jail(void* context, const char** what) {
  const Plan& plan = *static_cast<const Plan*>(context);
  for (const Step& step : kSteps) {
    if (plan.left_out & bit(step.wall)) continue;
    *what = step.what;
    if (int error = step.run(plan)) return error;
  }
  return 0;
}

/// The root that all VMMs of this process share; made when the first one starts.
Result<int> shared_root() {
  static std::mutex mutex;
  static Fd root;
  std::lock_guard lock(mutex);
  if (!root) {
    auto made = make_vmm_root();
    if (!made) return made.error().with_context("make the VMMs' root");
    root = std::move(made.value());
  }
  return root.get();
}

/// A copy above every number that the child's own descriptors will take: by the time the jail is
/// entered they have been put in their places, over whatever had those numbers in the parent.
Result<Fd> out_of_the_way(int fd, const ProcessSpec& spec) {
  int lowest = 3;
  for (const FdMapping& mapping : spec.fds) lowest = std::max(lowest, mapping.childs + 1);
  Fd copy(::fcntl(fd, F_DUPFD_CLOEXEC, lowest));
  if (!copy) return Error::from_errno(errno, "copy a descriptor for the jail");
  return copy;
}

Result<gid_t> kvm_group() {
  struct stat info {};
  if (::stat("/dev/kvm", &info) < 0) return Error::from_errno(errno, "stat /dev/kvm");
  return info.st_gid;
}

Result<Process> launch(unsigned left_out, asio::any_io_executor executor, const ProcessSpec& spec,
                       const VmmJail& jail) {
  if (jail.uid == 0 || jail.gid == 0)
    return Error(ErrorCode::invalid_argument, "a VMM never runs as root");
  Fd root, netns;
  std::vector<Fd> doors;
  Plan plan{jail, static_cast<gid_t>(-1), -1, left_out};
  if (jail.kvm) {
    HAKO_TRY(auto group, kvm_group());
    // Root's group would open far more than this device; then its owner has made it for all.
    if (group != 0) plan.kvm_group = group;
  }
  if (!(left_out & bit(Wall::root))) {
    HAKO_TRY(auto shared, shared_root());
    HAKO_TRY(root, out_of_the_way(shared, spec));
    plan.root = root.get();
  }
  if (!(left_out & bit(Wall::network))) {
    HAKO_TRY(netns, out_of_the_way(jail.netns, spec));
    plan.jail.netns = netns.get();
  }
  for (int& door : plan.jail.cgroups) {
    HAKO_TRY(auto copy, out_of_the_way(door, spec));
    door = copy.get();
    doors.push_back(std::move(copy));
  }
  return spawn(executor, spec, ChildSetup{enter_jail, &plan});
}

}  // namespace

Result<Process> launch_vmm(asio::any_io_executor executor, const ProcessSpec& spec,
                           const VmmJail& jail) {
  return launch(0, executor, spec, jail);
}

Result<Process> launch_vmm_without(std::initializer_list<Wall> left_out,
                                   asio::any_io_executor executor, const ProcessSpec& spec,
                                   const VmmJail& jail) {
  unsigned mask = 0;
  for (Wall wall : left_out) mask |= bit(wall);
  return launch(mask, executor, spec, jail);
}

}  // namespace hako::jail
