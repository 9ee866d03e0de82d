// The system calls that a process may make that only moves bytes between sockets.
#include <fcntl.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <span>

#include "jail/jail.h"

namespace hako::jail {
namespace {

/// Allowed whatever their arguments.
constexpr int kAllowed[] = {
    // Bytes in and out of descriptors it has, its logs included.
    SCMP_SYS(read), SCMP_SYS(readv), SCMP_SYS(write), SCMP_SYS(writev), SCMP_SYS(recvfrom),
    SCMP_SYS(recvmsg), SCMP_SYS(recvmmsg), SCMP_SYS(sendto), SCMP_SYS(sendmsg), SCMP_SYS(sendmmsg),
    // Relaying without copying.
    SCMP_SYS(splice), SCMP_SYS(pipe2),
    // Connections: taken from listeners that are open already, made to where policy says, ended.
    // No bind and no listen: nothing new is offered.
    SCMP_SYS(accept), SCMP_SYS(accept4), SCMP_SYS(connect), SCMP_SYS(shutdown), SCMP_SYS(close),
    SCMP_SYS(getsockopt), SCMP_SYS(setsockopt), SCMP_SYS(getsockname), SCMP_SYS(getpeername),
    // The event loop: readiness, timers, waking up.
    SCMP_SYS(epoll_create1), SCMP_SYS(epoll_ctl), SCMP_SYS(epoll_wait), SCMP_SYS(epoll_pwait),
    SCMP_SYS(epoll_pwait2), SCMP_SYS(poll), SCMP_SYS(ppoll), SCMP_SYS(select), SCMP_SYS(pselect6),
    SCMP_SYS(eventfd2), SCMP_SYS(timerfd_create), SCMP_SYS(timerfd_settime),
    SCMP_SYS(timerfd_gettime),
    // Memory. What may become executable is decided below.
    SCMP_SYS(brk), SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(madvise),
    // Threads and locks of its own.
    SCMP_SYS(futex), SCMP_SYS(set_robust_list), SCMP_SYS(set_tid_address), SCMP_SYS(rseq),
    SCMP_SYS(sched_yield), SCMP_SYS(sched_getaffinity), SCMP_SYS(membarrier), SCMP_SYS(getcpu),
    SCMP_SYS(exit), SCMP_SYS(exit_group),
    // Time and randomness.
    SCMP_SYS(clock_gettime), SCMP_SYS(clock_getres), SCMP_SYS(clock_nanosleep), SCMP_SYS(nanosleep),
    SCMP_SYS(gettimeofday), SCMP_SYS(time), SCMP_SYS(getrandom),
    // Signals: handling those it gets. Sending is decided below.
    SCMP_SYS(rt_sigaction), SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigreturn), SCMP_SYS(sigaltstack),
    SCMP_SYS(restart_syscall),
    // Asking who and where it is, which tells nothing new.
    SCMP_SYS(getpid), SCMP_SYS(gettid), SCMP_SYS(getppid), SCMP_SYS(getuid), SCMP_SYS(geteuid),
    SCMP_SYS(getgid), SCMP_SYS(getegid), SCMP_SYS(uname), SCMP_SYS(sysinfo), SCMP_SYS(getrusage),
    // The state of descriptors it has.
    SCMP_SYS(fstat), SCMP_SYS(lseek), SCMP_SYS(dup)};

/// What no correct code here can want: whoever asks has taken over the process, so it ends, and
/// the attempt is in the kernel's log.
constexpr int kDeadly[] = {
    // Other processes.
    SCMP_SYS(ptrace), SCMP_SYS(process_vm_readv), SCMP_SYS(process_vm_writev), SCMP_SYS(kcmp),
    SCMP_SYS(pidfd_getfd),
    // The file system as a whole.
    SCMP_SYS(mount), SCMP_SYS(umount2), SCMP_SYS(pivot_root), SCMP_SYS(chroot),
    SCMP_SYS(open_by_handle_at), SCMP_SYS(move_mount), SCMP_SYS(fsopen), SCMP_SYS(open_tree),
    SCMP_SYS(mount_setattr),
    // Namespaces, and through them the rest of the kernel.
    SCMP_SYS(setns), SCMP_SYS(unshare),
    // The kernel itself.
    SCMP_SYS(init_module), SCMP_SYS(finit_module), SCMP_SYS(delete_module), SCMP_SYS(kexec_load),
    SCMP_SYS(kexec_file_load), SCMP_SYS(bpf), SCMP_SYS(perf_event_open), SCMP_SYS(userfaultfd),
    SCMP_SYS(io_uring_setup), SCMP_SYS(keyctl), SCMP_SYS(add_key), SCMP_SYS(request_key),
    SCMP_SYS(iopl), SCMP_SYS(ioperm), SCMP_SYS(swapon), SCMP_SYS(reboot), SCMP_SYS(acct),
    SCMP_SYS(quotactl)};

class Filter {
 public:
  Filter() : context_(seccomp_init(SCMP_ACT_ERRNO(EPERM)), seccomp_release) {
    if (!context_) {
      error_ = ENOMEM;
      return;
    }
    // All threads, or none.
    attribute(SCMP_FLTATR_CTL_TSYNC, 1);
    attribute(SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
    // A binary search instead of a list: each call passes through this.
    attribute(SCMP_FLTATR_CTL_OPTIMIZE, 2);
  }

  void rule(uint32_t action, int call, std::initializer_list<scmp_arg_cmp> when = {}) {
    if (error_ == 0)
      error_ = -seccomp_rule_add_array(context_.get(), action, call,
                                       static_cast<unsigned>(when.size()), when.begin());
  }

  Result<void> load() {
    if (error_ == 0) error_ = -seccomp_load(context_.get());
    if (error_ != 0) return Error::from_errno(error_, "confine the gate with seccomp");
    return ok();
  }

 private:
  void attribute(scmp_filter_attr which, uint32_t value) {
    if (error_ == 0) error_ = -seccomp_attr_set(context_.get(), which, value);
  }

  std::unique_ptr<void, void (*)(scmp_filter_ctx)> context_;
  int error_ = 0;
};

scmp_arg_cmp equals(unsigned argument, uint64_t value) {
  return {argument, SCMP_CMP_EQ, value, 0};
}

scmp_arg_cmp has_bits(unsigned argument, uint64_t mask, uint64_t value) {
  return {argument, SCMP_CMP_MASKED_EQ, mask, value};
}

void allow_sockets(Filter& filter) {
  // Streams and datagrams of IP; local ones to speak with the node. No raw, packet, netlink or
  // vsock sockets. The one netlink socket that the gate has opened before can only ask: without
  // CAP_NET_ADMIN the kernel lets nobody change anything.
  constexpr uint64_t kTypeMask = ~static_cast<uint64_t>(SOCK_NONBLOCK | SOCK_CLOEXEC);
  for (int family : {AF_UNIX, AF_INET, AF_INET6})
    for (int type : {SOCK_STREAM, SOCK_DGRAM})
      filter.rule(SCMP_ACT_ALLOW, SCMP_SYS(socket),
                  {equals(0, static_cast<uint64_t>(family)),
                   has_bits(1, kTypeMask, static_cast<uint64_t>(type))});
  filter.rule(SCMP_ACT_ALLOW, SCMP_SYS(socketpair), {equals(0, AF_UNIX)});
}

void allow_memory(Filter& filter) {
  // Nothing becomes executable any more.
  for (int call : {SCMP_SYS(mmap), SCMP_SYS(mprotect)})
    filter.rule(SCMP_ACT_ALLOW, call, {has_bits(2, PROT_EXEC, 0)});
}

void allow_threads(Filter& filter) {
  // A thread, never a process. clone3 hides its flags in memory, so it does not exist here, and
  // glibc falls back to clone.
  filter.rule(SCMP_ACT_ALLOW, SCMP_SYS(clone), {has_bits(0, CLONE_THREAD, CLONE_THREAD)});
  filter.rule(SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3));
  // Only naming threads; and glibc asks for the stack limit before it makes one.
  filter.rule(SCMP_ACT_ALLOW, SCMP_SYS(prctl), {equals(0, PR_SET_NAME)});
  filter.rule(SCMP_ACT_ALLOW, SCMP_SYS(prlimit64), {equals(0, 0), equals(2, 0)});
  // abort() signals its own thread.
  filter.rule(SCMP_ACT_ALLOW, SCMP_SYS(tgkill), {equals(0, static_cast<uint64_t>(::getpid()))});
}

void allow_descriptor_state(Filter& filter) {
  for (uint64_t command : {F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_DUPFD_CLOEXEC, F_SETPIPE_SZ})
    filter.rule(SCMP_ACT_ALLOW, SCMP_SYS(fcntl), {equals(1, command)});
  for (uint64_t command : {FIONBIO, FIONREAD})
    filter.rule(SCMP_ACT_ALLOW, SCMP_SYS(ioctl), {equals(1, command)});
  // glibc's fstat(). That a path might still stand there shows at most a file's size and owner.
  filter.rule(SCMP_ACT_ALLOW, SCMP_SYS(newfstatat), {has_bits(3, AT_EMPTY_PATH, AT_EMPTY_PATH)});
}

}  // namespace

Result<void> confine_gate() {
  Filter filter;
  for (int call : kAllowed) filter.rule(SCMP_ACT_ALLOW, call);
  for (int call : kDeadly) filter.rule(SCMP_ACT_KILL_PROCESS, call);
  allow_sockets(filter);
  allow_memory(filter);
  allow_threads(filter);
  allow_descriptor_state(filter);
  return filter.load();
}

}  // namespace hako::jail
