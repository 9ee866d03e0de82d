// The kernel: what it offers to those who may administrate it, and what has let many in.
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/io_uring.h>
#include <linux/keyctl.h>
#include <linux/perf_event.h>
#include <linux/reboot.h>
#include <linux/seccomp.h>
#include <linux/userfaultfd.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/klog.h>
#include <sys/mount.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <csignal>
#include <cstring>

#include "support/jail_probe.h"
#include "support/own_mounts.h"

namespace hako::jail_probe {
namespace {

int mount_something(const std::string&) {
  // In a mount namespace of its own that does not spread, so that a success breaks nothing.
  if (!hako::testing_support::own_mounts(MS_PRIVATE)) return errno;
  return result_of(::mount("none", "/proc", "tmpfs", 0, nullptr));
}

int unmount(const std::string&) {
  return allowed_if(::umount2("/proc/self/fd", MNT_DETACH), EINVAL);
}

int change_root(const std::string&) {
  return result_of(::chroot("/proc"));
}

int pivot_root(const std::string&) {
  return allowed_if(::syscall(SYS_pivot_root, "/", "/"), EBUSY);
}

int user_namespace(const std::string&) {
  return result_of(::unshare(CLONE_NEWUSER));
}

int network_namespace(const std::string&) {
  return result_of(::unshare(CLONE_NEWNET));
}

int time_namespace(const std::string&) {
  constexpr int kNewTime = 0x80;  // CLONE_NEWTIME
  return result_of(::unshare(kNewTime));
}

int clone_into_namespaces(const std::string&) {
  long child = ::syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0);
  if (child == 0) ::_exit(0);
  if (child > 0) ::waitpid(static_cast<pid_t>(child), nullptr, 0);
  return result_of(child);
}

int join_namespace(const std::string&) {
  int names = ::open("/proc/self/ns/uts", O_RDONLY);
  if (names < 0) return errno;
  return result_of(::setns(names, CLONE_NEWUTS));
}

int load_module(const std::string&) {
  return allowed_if(::syscall(SYS_finit_module, -1, "", 0), EBADF);
}

int remove_module(const std::string&) {
  return allowed_if(::syscall(SYS_delete_module, "no-such-module", O_NONBLOCK), ENOENT);
}

int load_kernel(const std::string&) {
  return allowed_if(::syscall(SYS_kexec_load, 0, 0, nullptr, ~0ul), EINVAL);
}

int restart_machine(const std::string&) {
  return allowed_if(::syscall(SYS_reboot, 0, 0, 0, nullptr), EINVAL);
}

int swap_on(const std::string&) {
  return allowed_if(::swapon("/no-such-file", 0), ENOENT);
}

int set_clock(const std::string&) {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  return result_of(::clock_settime(CLOCK_REALTIME, &now));
}

int set_host_name(const std::string&) {
  utsname names{};
  ::uname(&names);
  return result_of(::sethostname(names.nodename, std::strlen(names.nodename)));
}

int learn_host_name(const std::string& name) {
  utsname names{};
  if (::uname(&names) < 0) return errno;
  return name == names.nodename ? 0 : ENOENT;
}

int read_kernel_log(const std::string&) {
  char buffer[16];
  return result_of(::klogctl(3, buffer, sizeof buffer));
}

int bpf(const std::string&) {
  bpf_attr attributes{};
  attributes.map_type = BPF_MAP_TYPE_ARRAY;
  attributes.key_size = attributes.value_size = 4;
  attributes.max_entries = 1;
  return result_of(::syscall(SYS_bpf, BPF_MAP_CREATE, &attributes, sizeof attributes));
}

int performance_events(const std::string&) {
  perf_event_attr attributes{};
  attributes.type = PERF_TYPE_SOFTWARE;
  attributes.size = sizeof attributes;
  attributes.config = PERF_COUNT_SW_DUMMY;
  attributes.exclude_kernel = attributes.exclude_hv = 1;
  return result_of(::syscall(SYS_perf_event_open, &attributes, 0, -1, -1, 0));
}

int io_uring(const std::string&) {
  io_uring_params parameters{};
  return result_of(::syscall(SYS_io_uring_setup, 4, &parameters));
}

int user_faults(const std::string&) {
  return result_of(::syscall(SYS_userfaultfd, UFFD_USER_MODE_ONLY));
}

int keys(const std::string&) {
  return result_of(::syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 1));
}

int add_key(const std::string&) {
  return result_of(::syscall(SYS_add_key, "user", "hako-probe", "x", 1, KEY_SPEC_PROCESS_KEYRING));
}

int watch_own_calls(const std::string&) {
  return allowed_if(
      ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, nullptr),
      EFAULT);
}

int open_by_handle(const std::string&) {
  struct {
    unsigned size;
    int type;
  } handle{0, 0};
  return allowed_if(::syscall(SYS_open_by_handle_at, AT_FDCWD, &handle, O_RDONLY), EINVAL);
}

int io_ports(const std::string&) {
  return result_of(::syscall(SYS_ioperm, 0x80, 1, 1));
}

/// Into the terminal that a test gave it; at somebody's shell, these would be commands.
int type_into_terminal(const std::string& descriptor) {
  int terminal = std::stoi(descriptor);
  char key = 'x';
  if (::ioctl(terminal, TIOCSCTTY, 0) < 0) return errno;
  return result_of(::ioctl(terminal, TIOCSTI, &key));
}

constexpr Attempt kAttempts[] = {
    {"mount", mount_something},
    {"unmount", unmount},
    {"change-root", change_root},
    {"pivot-root", pivot_root},
    {"user-namespace", user_namespace},
    {"network-namespace", network_namespace},
    {"time-namespace", time_namespace},
    {"clone-into-namespaces", clone_into_namespaces},
    {"join-namespace", join_namespace},
    {"load-module", load_module},
    {"remove-module", remove_module},
    {"load-kernel", load_kernel},
    {"restart-machine", restart_machine},
    {"swap-on", swap_on},
    {"set-clock", set_clock},
    {"set-host-name", set_host_name},
    {"learn-host-name", learn_host_name},
    {"read-kernel-log", read_kernel_log},
    {"bpf", bpf},
    {"performance-events", performance_events},
    {"io-uring", io_uring},
    {"user-faults", user_faults},
    {"keys", keys},
    {"add-key", add_key},
    {"watch-own-calls", watch_own_calls},
    {"open-by-handle", open_by_handle},
    {"io-ports", io_ports},
    {"type-into-terminal", type_into_terminal},
};

}  // namespace

std::span<const Attempt> kernel_attempts() {
  return kAttempts;
}

}  // namespace hako::jail_probe
