// A mount namespace for a child of a test, also where the tests run in a plain chroot.
#pragma once

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

namespace hako::testing_support {

/// Gives the calling thread its own mounts, which spread as `spread` says (MS_PRIVATE, ...). False
/// with errno set when that failed. In a chroot "/" need not be a mount, so this goes to the
/// namespace's root and comes back. Leaves the working directory at "/".
inline bool own_mounts(unsigned long spread) {
  if (::unshare(CLONE_NEWNS) < 0) return false;
  int mounts = ::open("/proc/thread-self/ns/mnt", O_RDONLY | O_CLOEXEC);
  int root = ::open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
  bool done = mounts >= 0 && root >= 0 && ::setns(mounts, CLONE_NEWNS) == 0 &&
              ::mount(nullptr, "/", nullptr, MS_REC | spread, nullptr) == 0 &&
              ::fchdir(root) == 0 && ::chroot(".") == 0;
  ::close(mounts);
  ::close(root);
  return done;
}

}  // namespace hako::testing_support
