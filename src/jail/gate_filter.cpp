// The system calls that a process may make that only moves bytes between sockets.
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>

#include "jail/filter.h"
#include "jail/jail.h"

namespace hako::jail {
namespace {

/// Allowed whatever their arguments.
constexpr int kGateCalls[] = {
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
  allow_only_threads(filter);
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
  Filter filter(SCMP_ACT_ERRNO(EPERM));
  filter.allow(kGateCalls);
  filter.end_process(deadly_calls());
  for (int call : {SCMP_SYS(unshare), SCMP_SYS(io_uring_setup)})
    filter.rule(SCMP_ACT_KILL_PROCESS, call);
  allow_sockets(filter);
  allow_memory(filter);
  allow_threads(filter);
  allow_descriptor_state(filter);
  return filter.load();
}

}  // namespace hako::jail
