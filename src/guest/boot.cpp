#include "guest/boot.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <linux/fs.h>
#include <linux/magic.h>
#include <cerrno>
#include <cstdlib>
#include <string>
#include <string_view>

#include "base/fd.h"
#include "base/log.h"
#include "guest/environment.h"
#include "guest/generation.h"
#include "guest/identity.h"
#include "guest/network.h"

namespace hako::guest {
namespace {

constexpr int kDiskWaitMs = 15'000;
constexpr char kNewRoot[] = "/newroot";
/// Held open for the life of the machine: the mount itself is out of everybody's sight.
int scratch_fd = -1;

Result<void> make_folder(const std::string& path, mode_t mode = 0755) {
  if (::mkdir(path.c_str(), mode) < 0 && errno != EEXIST)
    return Error::from_errno(errno, "make " + path);
  return ok();
}

Result<void> mount_at(const char* type, const char* source, const std::string& target,
                      unsigned long flags, const char* options = nullptr) {
  HAKO_TRYV(make_folder(target));
  if (::mount(source, target.c_str(), type, flags, options) < 0)
    return Error::from_errno(errno, std::string("mount ") + type + " at " + target);
  return ok();
}

Result<void> mount_kernel_file_systems() {
  HAKO_TRYV(mount_at("proc", "proc", "/proc", MS_NOSUID | MS_NODEV | MS_NOEXEC));
  HAKO_TRYV(mount_at("sysfs", "sysfs", "/sys", MS_NOSUID | MS_NODEV | MS_NOEXEC));
  HAKO_TRYV(mount_at("devtmpfs", "devtmpfs", "/dev", MS_NOSUID, "mode=0755"));
  HAKO_TRYV(mount_at("tmpfs", "run", "/run", MS_NOSUID | MS_NODEV, "mode=0755,size=25%"));
  return ok();
}

/// Standard input from nowhere; output to the virtio console once its driver is there, before that
/// to the kernel's log.
void open_console() {
  int null = ::open("/dev/null", O_RDWR);
  int console = ::open("/dev/hvc0", O_WRONLY | O_NOCTTY);
  if (console < 0) console = ::open("/dev/kmsg", O_WRONLY | O_NOCTTY);
  if (console < 0) console = null;
  if (null >= 0) ::dup2(null, 0);
  if (console >= 0) {
    ::dup2(console, 1);
    ::dup2(console, 2);
  }
  if (null > 2) ::close(null);
  if (console > 2 && console != null) ::close(console);
}

void load_module(const std::string& path) {
  auto file = open_file(path, O_RDONLY);
  if (!file) {
    log_warn("module_missing", {{"path", path}});
    return;
  }
  if (::syscall(SYS_finit_module, file.value().get(), "", 0) < 0 && errno != EEXIST)
    log_warn("module_failed", {{"path", path}, {"errno", errno}});
}

/// One path per line, dependencies first; relative ones are beside the list.
void load_modules() {
  auto list = read_file("/lib/modules/order");
  if (!list) {
    log_warn("no_module_list", {{"error", list.error().message()}});
    return;
  }
  std::string_view rest = list.value();
  while (!rest.empty()) {
    size_t end = rest.find('\n');
    std::string line(rest.substr(0, end));
    rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
    if (line.empty() || line.front() == '#') continue;
    load_module(line.front() == '/' ? line : "/lib/modules/" + line);
  }
}

Result<void> wait_for_device(const char* path) {
  constexpr int kStepMs = 5;
  for (int waited = 0; waited < kDiskWaitMs; waited += kStepMs) {
    struct stat info {};
    if (::stat(path, &info) == 0 && S_ISBLK(info.st_mode)) return ok();
    ::poll(nullptr, 0, kStepMs);
  }
  return Error(ErrorCode::timed_out, std::string("no disk ") + path);
}

/// The shared read-only root: the installed image, or that of a template which brought its own. The
/// latter is the disk of the machine in which it was unpacked (docs/internal-messages.md).
Result<std::string> mount_lower() {
  auto image = mount_at("erofs", "/dev/vda", "/lower", MS_RDONLY | MS_NOATIME);
  if (image) return "/lower";
  auto disk = mount_at("ext4", "/dev/vda", "/lower", MS_RDONLY | MS_NOATIME | MS_NODEV);
  if (!disk) return image.error();
  return "/lower/upper/image-root";
}

/// The shared root under this machine's own scratch disk.
Result<void> mount_root() {
  HAKO_TRYV(wait_for_device("/dev/vda"));
  HAKO_TRYV(wait_for_device("/dev/vdb"));
  HAKO_TRY(auto lower, mount_lower());
  HAKO_TRYV(mount_at("ext4", "/dev/vdb", "/scratch", MS_NOATIME | MS_NODEV,
                     "discard,noinit_itable,noquota"));
  HAKO_TRYV(make_folder("/scratch/upper"));
  HAKO_TRYV(make_folder("/scratch/work"));
  scratch_fd = ::open("/scratch", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  // With redirects, folders of the image can be renamed as on any other file system.
  std::string options = "lowerdir=" + lower +
                        ",upperdir=/scratch/upper,workdir=/scratch/work,"
                        "redirect_dir=on,xino=auto";
  return mount_at("overlay", "overlay", kNewRoot, MS_NOATIME, options.c_str());
}

/// Frees the memory of the initial ramdisk, but nothing on any other file system.
void empty_folder(int folder, dev_t device) {
  DIR* listing = ::fdopendir(folder);
  if (!listing) {
    ::close(folder);
    return;
  }
  while (const dirent* entry = ::readdir(listing)) {
    std::string_view name = entry->d_name;
    struct stat info {};
    if (name == "." || name == "..") continue;
    if (::fstatat(::dirfd(listing), entry->d_name, &info, AT_SYMLINK_NOFOLLOW) < 0 ||
        info.st_dev != device)
      continue;
    if (S_ISDIR(info.st_mode)) {
      int below = ::openat(::dirfd(listing), entry->d_name,
                           O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
      if (below >= 0) empty_folder(below, device);
      ::unlinkat(::dirfd(listing), entry->d_name, AT_REMOVEDIR);
    } else {
      ::unlinkat(::dirfd(listing), entry->d_name, 0);
    }
  }
  ::closedir(listing);
}

/// This program, under the name by which programs of the box know it. Its memory is this one's.
Result<void> offer_wait_program() {
  HAKO_TRYV(make_folder("/run/hako"));
  HAKO_TRY(auto place, open_file(kWaitProgram, O_WRONLY | O_CREAT, 0755));
  place.reset();
  // Only a mount of its own can be read-only.
  if (::mount("/proc/self/exe", kWaitProgram, nullptr, MS_BIND, nullptr) < 0 ||
      ::mount(nullptr, kWaitProgram, nullptr,
              MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV, nullptr) < 0)
    return Error::from_errno(errno, std::string("mount ") + kWaitProgram);
  return ok();
}

Result<void> switch_root() {
  for (const char* mounted : {"/dev", "/proc", "/sys", "/run"}) {
    std::string target = std::string(kNewRoot) + mounted;
    HAKO_TRYV(make_folder(target));
    if (::mount(mounted, target.c_str(), nullptr, MS_MOVE, nullptr) < 0)
      return Error::from_errno(errno, "move mount to " + target);
  }
  HAKO_TRY(auto old_root, open_file("/", O_RDONLY | O_DIRECTORY));
  if (::chdir(kNewRoot) < 0) return Error::from_errno(errno, "enter the new root");
  struct statfs kind {};
  struct stat info {};
  bool is_ramdisk = ::fstatfs(old_root.get(), &kind) == 0 &&
                    (kind.f_type == RAMFS_MAGIC || kind.f_type == TMPFS_MAGIC) &&
                    ::fstat(old_root.get(), &info) == 0;
  if (::mount(".", "/", nullptr, MS_MOVE, nullptr) < 0)
    return Error::from_errno(errno, "move the new root");
  if (::chroot(".") < 0 || ::chdir("/") < 0) return Error::from_errno(errno, "change root");
  if (is_ramdisk) empty_folder(old_root.release(), info.st_dev);
  return ok();
}

Result<void> mount_the_rest() {
  HAKO_TRYV(mount_at("devpts", "devpts", "/dev/pts", MS_NOSUID | MS_NOEXEC,
                     "gid=5,mode=0620,ptmxmode=0666"));
  HAKO_TRYV(mount_at("tmpfs", "shm", "/dev/shm", MS_NOSUID | MS_NODEV, "mode=1777"));
  HAKO_TRYV(mount_at("cgroup2", "cgroup2", "/sys/fs/cgroup", MS_NOSUID | MS_NODEV | MS_NOEXEC,
                     "nsdelegate"));
  HAKO_TRYV(make_folder("/tmp", 01777));
  ::chmod("/tmp", 01777);
  // Shells and interpreters open these by name.
  for (auto [link, target] : {std::pair{"/dev/fd", "/proc/self/fd"},
                              {"/dev/stdin", "/proc/self/fd/0"},
                              {"/dev/stdout", "/proc/self/fd/1"},
                              {"/dev/stderr", "/proc/self/fd/2"}})
    if (::symlink(target, link) < 0 && errno != EEXIST)
      return Error::from_errno(errno, std::string("link ") + link);
  return ok();
}

/// Kernels differ in which of these they have: a missing one is not worth failing for.
void set_kernel_parameter(const char* name, std::string_view value) {
  auto file = open_file(std::string("/proc/sys/") + name, O_WRONLY);
  if (!file) return;
  if (auto written = write_all(file.value().get(), value); !written)
    log_warn("parameter_refused", {{"name", name}, {"error", written.error().message()}});
}

void set_kernel_parameters() {
  // What the guest prints on its console the host must keep: errors only.
  set_kernel_parameter("kernel/printk", "3 4 1 3");
  set_kernel_parameter("net/ipv6/conf/all/disable_ipv6", "1");
  set_kernel_parameter("net/ipv6/conf/default/disable_ipv6", "1");
  set_kernel_parameter("kernel/core_pattern", "core");
  set_kernel_parameter("fs/inotify/max_user_watches", "524288");
  set_kernel_parameter("fs/inotify/max_user_instances", "1024");
  set_kernel_parameter("vm/max_map_count", "262144");
}

void set_limits() {
  auto adjust = open_file("/proc/self/oom_score_adj", O_WRONLY);
  // Out of memory, the machine must lose a program, not its init.
  if (adjust && !write_all(adjust.value().get(), std::string_view("-1000")))
    log_warn("oom_score_not_set");
  rlimit files{65536, 1 << 20};
  ::setrlimit(RLIMIT_NOFILE, &files);
  rlimit no_core{0, RLIM_INFINITY};
  ::setrlimit(RLIMIT_CORE, &no_core);
}

}  // namespace

Result<void> boot() {
  ::umask(022);
  HAKO_TRYV(mount_kernel_file_systems());
  open_console();
  load_modules();
  open_console();
  HAKO_TRYV(offer_wait_program());
  HAKO_TRYV(mount_root());
  HAKO_TRYV(switch_root());
  HAKO_TRYV(mount_the_rest());
  set_kernel_parameters();
  set_limits();
  HAKO_TRYV(prepare_identity_files());
  HAKO_TRYV(bring_up_network());
  // Everything the machine needs is in: from here on not even root brings in more of the kernel.
  set_kernel_parameter("kernel/modules_disabled", "1");
  ::setenv("PATH", kDefaultPath.data(), 1);
  return ok();
}

void power_off() {
  constexpr int kGraceMs = 2000, kStepMs = 20;
  ::kill(-1, SIGTERM);
  for (int waited = 0; waited < kGraceMs; waited += kStepMs) {
    while (::waitpid(-1, nullptr, WNOHANG) > 0) {
    }
    if (::kill(-1, 0) < 0 && errno == ESRCH) break;
    ::poll(nullptr, 0, kStepMs);
  }
  ::kill(-1, SIGKILL);
  ::sync();
  // The overlay keeps the scratch disk busy for as long as this process has a root, so it cannot
  // be unmounted; frozen, it is as clean as after an unmount.
  if (scratch_fd >= 0) ::ioctl(scratch_fd, FIFREEZE, 0);
  ::reboot(RB_POWER_OFF);
  // Machines without a power switch end when they are reset.
  ::reboot(RB_AUTOBOOT);
  ::_exit(1);
}

void die(const Error& error) {
  log_error("boot_failed", {{"error", error.message()}});
  ::sync();
  ::_exit(1);
}

}  // namespace hako::guest
