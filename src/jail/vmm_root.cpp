#include "jail/vmm_root.h"

#include <fcntl.h>
#include <linux/mount.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <optional>
#include <thread>

namespace hako::jail {
namespace {

/// Where the new root is built. The host's own files there are covered in this namespace only.
constexpr char kBuildPlace[] = "/tmp";

Result<void> checked(int result, const std::string& what) {
  if (result < 0) return Error::from_errno(errno, what);
  return ok();
}

/// For the whole tree below `path`, which a remount would do for its top only.
Result<void> lock_down(const std::string& path, uint64_t flags) {
  mount_attr attributes{};
  attributes.attr_set = flags;
  return checked(static_cast<int>(::syscall(SYS_mount_setattr, AT_FDCWD, path.c_str(), AT_RECURSIVE,
                                            &attributes, sizeof attributes)),
                 "lock down " + path);
}

Result<void> show_directory(const std::string& host, const std::string& target) {
  HAKO_TRYV(checked(::mkdir(target.c_str(), 0755), "make " + target));
  HAKO_TRYV(checked(::mount(host.c_str(), target.c_str(), nullptr, MS_BIND | MS_REC, nullptr),
                    "show " + host));
  return lock_down(target, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
}

/// /lib and the like: links into /usr on a merged system, else folders of their own.
Result<void> show_library_place(const std::string& name, const std::string& root) {
  std::string host = "/" + name, target = root + "/" + name;
  std::error_code failure;
  auto status = std::filesystem::symlink_status(host, failure);
  if (!std::filesystem::exists(status)) return ok();
  if (!std::filesystem::is_symlink(status)) return show_directory(host, target);
  auto link = std::filesystem::read_symlink(host, failure);
  if (failure) return Error::from_errno(failure.value(), "read link " + host);
  return checked(::symlink(link.c_str(), target.c_str()), "make " + target);
}

Result<void> show_file(const std::string& host, const std::string& target, uint64_t flags) {
  if (::access(host.c_str(), F_OK) < 0) return ok();
  HAKO_TRY(auto place, open_file(target, O_WRONLY | O_CREAT | O_EXCL, 0444));
  HAKO_TRYV(
      checked(::mount(host.c_str(), target.c_str(), nullptr, MS_BIND, nullptr), "show " + host));
  return lock_down(target, flags);
}

Result<void> build(const std::string& root) {
  HAKO_TRYV(checked(::mount("hako", root.c_str(), "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC,
                            "mode=0755,size=64k"),
                    "mount the new root"));
  HAKO_TRYV(show_directory("/usr", root + "/usr"));
  for (const char* name : {"bin", "sbin", "lib", "lib32", "lib64", "libx32"}) {
    HAKO_TRYV(show_library_place(name, root));
  }
  HAKO_TRYV(checked(::mkdir((root + "/etc").c_str(), 0755), "make /etc"));
  HAKO_TRYV(
      show_file("/etc/ld.so.cache", root + "/etc/ld.so.cache",
                MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC));
  HAKO_TRYV(checked(::mkdir((root + "/dev").c_str(), 0755), "make /dev"));
  for (const char* name : {"/dev/null", "/dev/urandom", "/dev/kvm"}) {
    HAKO_TRYV(show_file(name, root + name, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC));
  }
  // Descriptors are opened again by their names in /proc/self/fd.
  HAKO_TRYV(checked(::mkdir((root + "/proc").c_str(), 0555), "make /proc"));
  return checked(::mount("proc", (root + "/proc").c_str(), "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC,
                         "hidepid=invisible,subset=pid"),
                 "mount a /proc of its own");
}

Result<void> change_root(const Fd& folder) {
  HAKO_TRYV(checked(::fchdir(folder.get()), "go back to our own root"));
  return checked(::chroot("."), "take our own root again");
}

/// Joining a namespace, even one's own, leaves a chroot for that namespace's root. Only that one is
/// sure to be a mount, which changing how mounts spread and pivot_root ask for.
Result<void> go_to_top(const Fd& mounts) {
  return checked(::setns(mounts.get(), CLONE_NEWNS), "go to the top of the mounts");
}

/// Leaves the calling thread in a mount namespace of its own. "/" may be a plain folder (a chroot).
Result<Fd> build_and_enter() {
  HAKO_TRYV(checked(::unshare(CLONE_NEWNS), "new mount namespace"));
  // Of this thread only, as its root now is: folders must be open to the VMMs' users.
  ::umask(022);
  HAKO_TRY(auto mounts, open_file("/proc/thread-self/ns/mnt", O_RDONLY));
  HAKO_TRY(auto our_root, open_file("/", O_PATH | O_DIRECTORY));
  HAKO_TRYV(go_to_top(mounts));
  HAKO_TRYV(checked(::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr),
                    "keep mounts to ourselves"));
  HAKO_TRYV(change_root(our_root));
  HAKO_TRYV(build(kBuildPlace));
  HAKO_TRY(auto new_root, open_file(kBuildPlace, O_PATH | O_DIRECTORY));
  HAKO_TRYV(go_to_top(mounts));
  HAKO_TRYV(checked(::fchdir(new_root.get()), "enter the new root"));
  // With both names the same the old root ends up over the new one, from where it is taken away.
  HAKO_TRYV(
      checked(static_cast<int>(::syscall(SYS_pivot_root, ".", ".")), "pivot to the new root"));
  HAKO_TRYV(checked(::umount2(".", MNT_DETACH), "take the old root away"));
  HAKO_TRYV(
      checked(::mount(nullptr, "/", nullptr,
                      MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr),
              "make the new root read-only"));
  return mounts;
}

}  // namespace

Result<Fd> make_vmm_root() {
  // The thread ends with its namespace; only the descriptor keeps it.
  std::optional<Result<Fd>> root;
  std::thread([&] { root.emplace(build_and_enter()); }).join();
  return std::move(*root);
}

}  // namespace hako::jail
