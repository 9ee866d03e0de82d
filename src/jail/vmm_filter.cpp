#include "jail/vmm_filter.h"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/kvm.h>
#include <linux/seccomp.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include <cerrno>

#include "jail/filter.h"

namespace hako::jail {
namespace {

/// Allowed whatever their arguments.
constexpr int kVmmCalls[] = {
    // Bytes in and out of descriptors it has: disks, the tap, its control channel.
    SCMP_SYS(read), SCMP_SYS(readv), SCMP_SYS(pread64), SCMP_SYS(preadv), SCMP_SYS(write),
    SCMP_SYS(writev), SCMP_SYS(pwrite64), SCMP_SYS(pwritev), SCMP_SYS(lseek), SCMP_SYS(fsync),
    SCMP_SYS(fdatasync), SCMP_SYS(fallocate), SCMP_SYS(ftruncate), SCMP_SYS(fadvise64),
    SCMP_SYS(recvmsg), SCMP_SYS(recvfrom), SCMP_SYS(sendmsg), SCMP_SYS(sendto),
    // Its control socket is bound by us; nothing else is ever made, bound or connected.
    SCMP_SYS(listen), SCMP_SYS(accept), SCMP_SYS(accept4), SCMP_SYS(shutdown), SCMP_SYS(close),
    SCMP_SYS(close_range), SCMP_SYS(getsockopt), SCMP_SYS(getsockname), SCMP_SYS(getpeername),
    // The event loop.
    SCMP_SYS(poll), SCMP_SYS(ppoll), SCMP_SYS(select), SCMP_SYS(pselect6), SCMP_SYS(epoll_create1),
    SCMP_SYS(epoll_ctl), SCMP_SYS(epoll_wait), SCMP_SYS(epoll_pwait), SCMP_SYS(eventfd2),
    SCMP_SYS(signalfd4), SCMP_SYS(timerfd_create), SCMP_SYS(timerfd_settime),
    SCMP_SYS(timerfd_gettime), SCMP_SYS(pipe2),
    // Memory. Emulation writes the code that it runs, so it may become executable.
    SCMP_SYS(brk), SCMP_SYS(mmap), SCMP_SYS(munmap), SCMP_SYS(mprotect), SCMP_SYS(mremap),
    SCMP_SYS(madvise), SCMP_SYS(mincore), SCMP_SYS(membarrier),
    // Threads and locks of its own.
    SCMP_SYS(futex), SCMP_SYS(set_robust_list), SCMP_SYS(set_tid_address), SCMP_SYS(rseq),
    SCMP_SYS(arch_prctl), SCMP_SYS(sched_yield), SCMP_SYS(sched_getaffinity), SCMP_SYS(getcpu),
    SCMP_SYS(exit), SCMP_SYS(exit_group),
    // Time and randomness.
    SCMP_SYS(clock_gettime), SCMP_SYS(clock_getres), SCMP_SYS(clock_nanosleep), SCMP_SYS(nanosleep),
    SCMP_SYS(gettimeofday), SCMP_SYS(time), SCMP_SYS(times), SCMP_SYS(getrandom),
    // Signals: handling them, and waking threads of its own. tgkill can name others only within
    // its pid namespace, which has none.
    SCMP_SYS(rt_sigaction), SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigreturn), SCMP_SYS(sigaltstack),
    SCMP_SYS(rt_sigtimedwait), SCMP_SYS(rt_sigpending), SCMP_SYS(restart_syscall), SCMP_SYS(tgkill),
    // Asking who and where it is.
    SCMP_SYS(getpid), SCMP_SYS(gettid), SCMP_SYS(getppid), SCMP_SYS(getuid), SCMP_SYS(geteuid),
    SCMP_SYS(getgid), SCMP_SYS(getegid), SCMP_SYS(uname), SCMP_SYS(sysinfo), SCMP_SYS(getrusage),
    // The state of its descriptors, and what its root shows: libraries and firmware.
    SCMP_SYS(fstat), SCMP_SYS(newfstatat), SCMP_SYS(statx), SCMP_SYS(fstatfs), SCMP_SYS(statfs),
    SCMP_SYS(dup), SCMP_SYS(dup3), SCMP_SYS(access), SCMP_SYS(faccessat), SCMP_SYS(readlink),
    SCMP_SYS(readlinkat), SCMP_SYS(getdents64), SCMP_SYS(getcwd)};

void allow_files(Filter& filter) {
  // Nothing is made. (That its root cannot be written to is another matter.)
  filter.rule(SCMP_ACT_ALLOW, SCMP_SYS(openat),
              {has_bits(2, O_CREAT | (O_TMPFILE & ~O_DIRECTORY), 0)});
  for (uint64_t command : {F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_DUPFD, F_DUPFD_CLOEXEC})
    filter.rule(SCMP_ACT_ALLOW, SCMP_SYS(fcntl), {equals(1, command)});
  // QEMU removes the name of its control socket, and does not mind that it sees none.
  filter.rule(SCMP_ACT_ERRNO(ENOENT), SCMP_SYS(unlink));
}

void allow_devices(Filter& filter, bool kvm) {
  // The tap: the shape of what is read from it, not what it is, whose it is or how long it lives.
  for (uint64_t request : {TUNGETIFF, TUNGETFEATURES, TUNGETVNETHDRSZ, TUNSETVNETHDRSZ,
                           TUNSETOFFLOAD, TUNSETSNDBUF, TUNSETVNETLE, TUNSETVNETBE})
    filter.rule(SCMP_ACT_ALLOW, SCMP_SYS(ioctl), {equals(1, request)});
  for (uint64_t request : {FIONBIO, FIONREAD})
    filter.rule(SCMP_ACT_ALLOW, SCMP_SYS(ioctl), {equals(1, request)});
  constexpr uint64_t kDevice = 0xff00;
  if (kvm)
    filter.rule(SCMP_ACT_ALLOW, SCMP_SYS(ioctl), {has_bits(1, kDevice, uint64_t(KVMIO) << 8)});
  filter.rule(SCMP_ACT_ALLOW, SCMP_SYS(setsockopt), {equals(1, SOL_SOCKET)});
}

void allow_own_settings(Filter& filter) {
  for (uint64_t option : {PR_SET_NAME, PR_SET_TIMERSLACK, PR_MCE_KILL, PR_SET_NO_NEW_PRIVS})
    filter.rule(SCMP_ACT_ALLOW, SCMP_SYS(prctl), {equals(0, option)});
  // Limits are read, never set.
  filter.rule(SCMP_ACT_ALLOW, SCMP_SYS(prlimit64), {equals(0, 0), equals(2, 0)});
  // QEMU's own filter on top of this one. Nobody listens to what a filter sees.
  filter.rule(
      SCMP_ACT_ALLOW, SCMP_SYS(seccomp),
      {equals(0, SECCOMP_SET_MODE_FILTER), has_bits(1, SECCOMP_FILTER_FLAG_NEW_LISTENER, 0)});
  filter.rule(SCMP_ACT_ALLOW, SCMP_SYS(seccomp), {equals(0, SECCOMP_GET_ACTION_AVAIL)});
  // By this answer libseccomp knows that the call is there.
  filter.rule(SCMP_ACT_ERRNO(EINVAL), SCMP_SYS(seccomp), {equals(0, SECCOMP_SET_MODE_STRICT)});
}

}  // namespace

Result<std::vector<sock_filter>> vmm_filter(bool kvm, uint64_t exec_mark) {
  Filter filter(SCMP_ACT_ERRNO(EPERM));
  filter.allow(kVmmCalls);
  filter.end_process(deadly_calls());
  // QEMU's own filter ends only the thread that calls execveat: a VMM neither alive nor dead.
  for (int call : {SCMP_SYS(unshare), SCMP_SYS(execveat)}) filter.rule(SCMP_ACT_KILL_PROCESS, call);
  allow_files(filter);
  allow_devices(filter, kvm);
  allow_own_settings(filter);
  allow_only_threads(filter);
  // QEMU tries it when it starts, and does without.
  filter.rule(SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(io_uring_setup));
  filter.rule(SCMP_ACT_ALLOW, SCMP_SYS(execve), {equals(5, exec_mark)});
  return filter.program();
}

}  // namespace hako::jail
