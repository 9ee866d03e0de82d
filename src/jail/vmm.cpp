// Starting a VMM behind its walls.
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <mutex>

#include "base/random.h"
#include "jail/jail.h"
#include "jail/privileges.h"
#include "jail/vmm_filter.h"
#include "jail/vmm_root.h"
#include "jail/walls.h"

namespace hako::jail {
namespace {

// A VMM of ours holds about 15 descriptors and, with all its disk workers, about 70 threads.
constexpr unsigned long kMostDescriptors = 256;
constexpr unsigned long kMostThreads = 128;
constexpr char kHostName[] = "vmm";
constexpr char kOomScore[] = "900";

/// What the child needs, prepared before the fork.
struct Plan {
  VmmJail jail;
  gid_t kvm_group;
  int root;
  sock_fprog filter;
};

int enter_cgroups(const Plan& plan) {
  for (int door : plan.jail.cgroups) {
    if (::write(door, "0", 1) < 0) return errno;
  }
  return 0;
}

/// When the host runs out of memory the kernel looks for whom to end: rather a VMM than a daemon that
/// all boxes need, or what else the host is for.
int end_before_others(const Plan&) {
  int file = ::open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  if (file < 0) return errno;
  int error = ::write(file, kOomScore, sizeof kOomScore - 1) < 0 ? errno : 0;
  ::close(file);
  return error;
}

int join_network(const Plan& plan) {
  return ::setns(plan.jail.netns, CLONE_NEWNET) ? errno : 0;
}

int own_ipc_and_uts(const Plan&) {
  if (::unshare(CLONE_NEWIPC | CLONE_NEWUTS) < 0) return errno;
  // The new one begins with this machine's name.
  return ::sethostname(kHostName, sizeof kHostName - 1) < 0 ? errno : 0;
}

int enter_root(const Plan& plan) {
  return ::setns(plan.root, CLONE_NEWNS) ? errno : 0;
}

int limit_resources(const Plan& plan) {
  if (int error = forbid_core_dumps()) return error;
  if (int error = set_limit(RLIMIT_NOFILE, kMostDescriptors)) return error;
  if (int error = set_limit(RLIMIT_NPROC, kMostThreads)) return error;
  if (int error = set_limit(RLIMIT_MEMLOCK, 0)) return error;
  if (int error = set_limit(RLIMIT_MSGQUEUE, 0)) return error;
  if (plan.jail.largest_file == 0) return 0;
  return set_limit(RLIMIT_FSIZE, plan.jail.largest_file);
}

int change_user(const Plan& plan) {
  if (::prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0) return errno;
  if (int error = become_user(plan.jail.uid, plan.jail.gid, plan.kvm_group)) return error;
  // For the two steps that follow.
  return take_permitted_capabilities();
}

int own_user_namespace(const Plan&) {
  return enter_user_namespace();
}

int shrink_bounding_set(const Plan&) {
  return drop_bounding_set();
}

int clear_capabilities(const Plan&) {
  return drop_capabilities();
}

int never_more_privileges(const Plan&) {
  return forbid_new_privileges();
}

int filter_calls(const Plan& plan) {
  return ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &plan.filter) < 0 ? errno : 0;
}

struct Step {
  Wall wall;
  const char* what;
  int (*run)(const Plan&);
};

/// In this order, each needing what a later one takes away. Before them, the fork: into a pid
/// namespace (Wall::processes).
constexpr Step kSteps[] = {
    {Wall::limits, "be ended before others", end_before_others},
    {Wall::network, "join the empty network namespace", join_network},
    {Wall::namespaces, "make ipc and uts namespaces", own_ipc_and_uts},
    {Wall::root, "enter the VMM's root", enter_root},
    {Wall::limits, "limit resources", limit_resources},
    // As late as root can: from here on it has no more of the processors than its tenant.
    {Wall::share, "enter its control groups", enter_cgroups},
    {Wall::user, "change user", change_user},
    // Last of the namespaces, so that it owns none of them.
    {Wall::user_namespace, "make a user namespace", own_user_namespace},
    {Wall::capabilities, "shrink the bounding set", shrink_bounding_set},
    {Wall::capabilities, "drop capabilities", clear_capabilities},
    {Wall::no_new_privs, "forbid new privileges", never_more_privileges},
    {Wall::filter, "filter system calls", filter_calls},
};

/// Runs in the child: async-signal-safe calls only.
int enter_jail(void* context, const char** what) {
  const Plan& plan = *static_cast<const Plan*>(context);
  for (const Step& step : kSteps) {
    if (!stands(step.wall)) continue;
    *what = step.what;
    if (int error = step.run(plan)) return error;
  }
  return 0;
}

/// What all VMMs of one program, with or without KVM, share; made when the first one starts. The
/// program's files stay those of then, also when another version is installed.
struct Shared {
  Fd root;
  std::vector<sock_filter> filter;
  uint64_t exec_mark;  ///< the one that `filter` asks for
};

Result<Shared> make_shared_parts(asio::any_io_executor executor, const std::string& program,
                                 bool kvm) {
  Shared made;
  HAKO_TRY(auto files, files_of_vmm(executor, program, kvm));
  auto root = make_root(files);
  if (!root) return root.error().with_context("make the VMMs' root");
  made.root = std::move(root.value());
  std::string random = random_bytes(sizeof made.exec_mark);
  ::memcpy(&made.exec_mark, random.data(), sizeof made.exec_mark);
  HAKO_TRY(made.filter, vmm_filter(kvm, made.exec_mark));
  return made;
}

Result<const Shared*> shared_parts(asio::any_io_executor executor, const std::string& program,
                                   bool kvm) {
  static std::mutex mutex;
  static std::map<std::pair<std::string, bool>, Shared> all;
  std::lock_guard lock(mutex);
  auto found = all.find({program, kvm});
  if (found == all.end()) {
    HAKO_TRY(auto made, make_shared_parts(executor, program, kvm));
    found = all.emplace(std::pair(program, kvm), std::move(made)).first;
  }
  return &found->second;
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

Result<Process> launch(asio::any_io_executor executor, const ProcessSpec& spec,
                       const VmmJail& jail, decltype(spawn)* start) {
  if (jail.uid == 0 || jail.gid == 0)
    return Error(ErrorCode::invalid_argument, "a VMM never runs as root");
  Fd root, netns;
  std::vector<Fd> doors;
  Plan plan{jail, static_cast<gid_t>(-1), -1, {}};
  if (jail.kvm) {
    HAKO_TRY(auto group, kvm_group());
    // Root's group would open far more than this device; then its owner has made it for all.
    if (group != 0) plan.kvm_group = group;
  }
  HAKO_TRY(const Shared* shared, shared_parts(executor, spec.path, jail.kvm));
  // The kernel only reads it.
  plan.filter = {static_cast<unsigned short>(shared->filter.size()),
                 const_cast<sock_filter*>(shared->filter.data())};
  HAKO_TRY(root, out_of_the_way(shared->root.get(), spec));
  plan.root = root.get();
  if (stands(Wall::network)) {
    HAKO_TRY(netns, out_of_the_way(jail.netns, spec));
    plan.jail.netns = netns.get();
  }
  for (int& door : plan.jail.cgroups) {
    HAKO_TRY(auto copy, out_of_the_way(door, spec));
    door = copy.get();
    doors.push_back(std::move(copy));
  }
  ChildSetup setup{enter_jail, &plan};
  setup.exec_mark = shared->exec_mark;
  if (stands(Wall::processes)) setup.namespaces = CLONE_NEWPID;
  return start(executor, spec, setup);
}

}  // namespace

Result<Process> launch_vmm(asio::any_io_executor executor, const ProcessSpec& spec,
                           const VmmJail& jail) {
  return launch(executor, spec, jail, spawn);
}

Result<Process> start_vmm(asio::any_io_executor executor, const ProcessSpec& spec,
                          const VmmJail& jail) {
  return launch(executor, spec, jail, start_spawning);
}

}  // namespace hako::jail
