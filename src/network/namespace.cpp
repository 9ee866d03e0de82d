#include "network/namespace.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <cerrno>
#include <mutex>

namespace hako::network {
namespace {

/// Only the preparation of directories needs it: check and mount are two steps.
std::mutex directories;

Result<bool> is_mount(const std::string& path) {
  struct statx info {};
  if (::statx(AT_FDCWD, path.c_str(), AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, &info) < 0)
    return Error::from_errno(errno, "stat " + path);
  return (info.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
}

Result<bool> holds_namespace(const std::string& path) {
  struct statfs info {};
  if (::statfs(path.c_str(), &info) < 0) return Error::from_errno(errno, "stat " + path);
  return info.f_type == NSFS_MAGIC;
}

}  // namespace

namespace detail {

Result<void> join_namespace(int netns) {
  if (::setns(netns, CLONE_NEWNET) < 0) return Error::from_errno(errno, "join network namespace");
  return ok();
}

Result<void> leave_for_new_namespace() {
  if (::unshare(CLONE_NEWNET) < 0) return Error::from_errno(errno, "new network namespace");
  return ok();
}

}  // namespace detail

Result<Fd> current_namespace() {
  return open_file("/proc/thread-self/ns/net", O_RDONLY);
}

Result<void> prepare_directory(const std::string& directory) {
  std::lock_guard lock(directories);
  if (::mkdir(directory.c_str(), 0700) < 0 && errno != EEXIST)
    return Error::from_errno(errno, "make " + directory);
  HAKO_TRY(bool mounted, is_mount(directory));
  if (mounted) return ok();
  if (::mount(directory.c_str(), directory.c_str(), nullptr, MS_BIND, nullptr) < 0)
    return Error::from_errno(errno, "bind " + directory);
  if (::mount(nullptr, directory.c_str(), nullptr, MS_SHARED, nullptr) < 0)
    return Error::from_errno(errno, "share " + directory);
  return ok();
}

Result<void> release_directory(const std::string& directory) {
  std::lock_guard lock(directories);
  // EINVAL: no mount. EBUSY: something is still bound below.
  if (::umount2(directory.c_str(), UMOUNT_NOFOLLOW) < 0 && errno != EINVAL && errno != ENOENT)
    return Error::from_errno(errno, "unmount " + directory);
  if (::rmdir(directory.c_str()) < 0 && errno != ENOENT)
    return Error::from_errno(errno, "remove " + directory);
  return ok();
}

Result<void> bind_namespace(int netns, const std::string& path) {
  int fd = ::open(path.c_str(), O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0400);
  if (fd >= 0) {
    ::close(fd);
  } else if (errno != EEXIST) {
    return Error::from_errno(errno, "create " + path);
  } else {
    HAKO_TRY(bool taken, holds_namespace(path));
    if (taken) return Error(ErrorCode::already_exists, "a namespace is bound to " + path);
  }
  std::string source = "/proc/self/fd/" + std::to_string(netns);
  if (::mount(source.c_str(), path.c_str(), nullptr, MS_BIND, nullptr) < 0) {
    Error error = Error::from_errno(errno, "bind namespace to " + path);
    ::unlink(path.c_str());
    return error;
  }
  return ok();
}

Result<Fd> open_namespace(const std::string& path) {
  HAKO_TRY(auto fd, open_file(path, O_RDONLY | O_NOFOLLOW));
  struct statfs info {};
  if (::fstatfs(fd.get(), &info) < 0) return Error::from_errno(errno, "stat " + path);
  if (info.f_type != NSFS_MAGIC)
    return Error(ErrorCode::not_found, "no namespace is bound to " + path);
  return fd;
}

Result<void> unbind_namespace(const std::string& path) {
  // Detached, so that whoever still has it open does not hold the path. A path bound twice (by an
  // interrupted run) is unbound twice.
  while (::umount2(path.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW) == 0) {
  }
  if (errno != EINVAL && errno != ENOENT) return Error::from_errno(errno, "unmount " + path);
  if (::unlink(path.c_str()) < 0 && errno != ENOENT)
    return Error::from_errno(errno, "remove " + path);
  return ok();
}

}  // namespace hako::network
