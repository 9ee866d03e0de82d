#include "jail/privileges.h"

#include <linux/capability.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

namespace hako::jail {

int drop_bounding_set() {
  for (int capability = 0; capability < 64; ++capability) {
    if (::prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == 0) continue;
    if (errno == EINVAL && capability > 0) return 0;  // past the last one of this kernel
    return errno;
  }
  return 0;
}

int become_user(uid_t uid, gid_t gid, gid_t group) {
  // The system calls themselves: glibc's functions would signal threads that the child of a fork
  // does not have.
  bool has_group = group != static_cast<gid_t>(-1);
  if (::syscall(SYS_setgroups, has_group ? 1 : 0, &group) < 0) return errno;
  if (::syscall(SYS_setresgid, gid, gid, gid) < 0) return errno;
  if (::syscall(SYS_setresuid, uid, uid, uid) < 0) return errno;
  return 0;
}

int take_permitted_capabilities() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct mine[2] = {};
  if (::syscall(SYS_capget, &header, mine) < 0) return errno;
  for (auto& half : mine) half.effective = half.permitted;
  return ::syscall(SYS_capset, &header, mine) < 0 ? errno : 0;
}

int enter_user_namespace() {
  if (::unshare(CLONE_NEWUSER) == 0) return 0;
  // Switched off, forbidden, or too many.
  return errno == ENOSYS || errno == EINVAL || errno == EPERM || errno == ENOSPC ? 0 : errno;
}

int drop_capabilities() {
  if (::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0) return errno;
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct none[2] = {};
  if (::syscall(SYS_capset, &header, none) < 0) return errno;
  return 0;
}

int forbid_new_privileges() {
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? errno : 0;
}

int forbid_core_dumps() {
  // With 0 a core_pattern that names a program would still get the dump; 1 forbids that too, and
  // is less than any dump to a file needs.
  return set_limit(RLIMIT_CORE, 1);
}

int set_limit(int resource, unsigned long limit) {
  rlimit both{limit, limit};
  return ::syscall(SYS_prlimit64, 0, resource, &both, nullptr) < 0 ? errno : 0;
}

}  // namespace hako::jail
