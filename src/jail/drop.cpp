// Giving up root for good, for processes that talk to strangers.
#include <sched.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "jail/jail.h"
#include "jail/privileges.h"

namespace hako::jail {
namespace {

Result<void> checked(int os_error, const char* what) {
  if (os_error != 0) return Error::from_errno(os_error, what);
  return ok();
}

Result<void> only_one_thread() {
  int threads = 0;
  std::error_code failure;
  for (std::filesystem::directory_iterator entry("/proc/self/task", failure), end;
       !failure && entry != end; entry.increment(failure))
    ++threads;
  if (failure) return Error::from_errno(failure.value(), "count threads");
  if (threads != 1)
    return Error(ErrorCode::failed_precondition,
                 "privileges must be dropped before a second thread starts");
  return ok();
}

}  // namespace

Result<void> confine_daemon(uid_t uid, gid_t gid, const std::vector<Shown>& files) {
  HAKO_TRYV(only_one_thread());
  if (::unshare(CLONE_NEWIPC | CLONE_NEWUTS) < 0)
    return Error::from_errno(errno, "make ipc and uts namespaces");
  HAKO_TRYV(enter_root(files));
  return drop_privileges(uid, gid);
}

Result<void> drop_privileges(uid_t uid, gid_t gid) {
  if (uid == 0 || gid == 0)
    return Error(ErrorCode::invalid_argument, "root is not less than what this process has");
  HAKO_TRYV(only_one_thread());
  HAKO_TRYV(checked(forbid_core_dumps(), "forbid core dumps"));
  // Who is not root (any more) has no bounding set to give up and may not try.
  if (::geteuid() == 0) {
    HAKO_TRYV(checked(drop_bounding_set(), "shrink the bounding set"));
    HAKO_TRYV(checked(become_user(uid, gid, static_cast<gid_t>(-1)), "change user"));
  } else if (::geteuid() != uid || ::getegid() != gid) {
    return Error(ErrorCode::permission_denied, "only root can change to another user");
  }
  HAKO_TRYV(checked(drop_capabilities(), "drop capabilities"));
  HAKO_TRYV(checked(forbid_new_privileges(), "forbid new privileges"));
  // Others of the same user may not read its memory, which holds keys.
  if (::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0) return Error::from_errno(errno, "forbid tracing");
  return ok();
}

}  // namespace hako::jail
