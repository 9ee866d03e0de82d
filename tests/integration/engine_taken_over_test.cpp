// A real VMM, with a guest running in it, is made to call what a taken-over one would: a tracer
// puts the calls into its main thread, where both filters see them, QEMU's and ours.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/if_tun.h>
#include <sched.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <iostream>
#include <thread>

#include "engine/qemu/command_line.h"
#include "support/engine_vm.h"

namespace hako::test {
namespace {

using namespace std::chrono_literals;

struct Call {
  const char* what;
  long number;
  unsigned long arguments[3];
};

/// Pointers are null: a call that is let through says so by EFAULT, or does no harm.
constexpr Call kCalls[] = {
    {"a local socket", SYS_socket, {AF_UNIX, SOCK_STREAM, 0}},
    {"an IP socket", SYS_socket, {AF_INET, SOCK_STREAM, 0}},
    {"netlink", SYS_socket, {AF_NETLINK, SOCK_RAW, 0}},
    {"a pair of sockets", SYS_socketpair, {AF_UNIX, SOCK_STREAM, 0}},
    {"connecting", SYS_connect, {engine::QemuFds::control, 0, 0}},
    {"binding", SYS_bind, {engine::QemuFds::control, 0, 0}},
    {"another program", SYS_execve, {0, 0, 0}},
    {"another program by descriptor", SYS_execveat, {0, 0, 0}},
    {"a program in memory", SYS_memfd_create, {0, 0, 0}},
    {"another process", SYS_clone, {SIGCHLD, 0, 0}},
    {"signals", SYS_kill, {1, 0, 0}},
    {"a new file", SYS_openat, {0, 0, O_CREAT | O_WRONLY}},
    {"a new folder", SYS_mkdir, {0, 0, 0}},
    {"a new name", SYS_rename, {0, 0, 0}},
    {"a mode", SYS_fchmod, {engine::QemuFds::scratch, 04755, 0}},
    {"an owner", SYS_fchown, {engine::QemuFds::scratch, 0, 0}},
    {"a tap that lasts", SYS_ioctl, {engine::QemuFds::tap, TUNSETPERSIST, 1}},
    {"root", SYS_setresuid, {0, 0, 0}},
    {"higher limits", SYS_setrlimit, {0, 0, 0}},
    {"io_uring", SYS_io_uring_setup, {4, 0, 0}},
    {"known addresses", SYS_personality, {0x0040000, 0, 0}},
    {"being traced", SYS_prctl, {4 /* PR_SET_DUMPABLE */, 1, 0}},
    {"tracing", SYS_ptrace, {PTRACE_TRACEME, 0, 0}},
    {"memory of others", SYS_process_vm_readv, {1, 0, 0}},
    {"mounts", SYS_mount, {0, 0, 0}},
    {"namespaces", SYS_unshare, {CLONE_NEWUSER, 0, 0}},
    {"joining namespaces", SYS_setns, {engine::QemuFds::control, 0, 0}},
    {"page faults", SYS_userfaultfd, {1, 0, 0}},
    {"keys", SYS_keyctl, {0, 0, 0}},
    {"BPF", SYS_bpf, {0, 0, 0}},
    {"performance events", SYS_perf_event_open, {0, 0, 0}},
    {"modules", SYS_finit_module, {0, 0, 0}},
};

/// Waits a moment. False if only this thread of the process has been ended, of which nobody is
/// told.
bool has_stopped(pid_t pid, int& status) {
  for (int i = 0; i < 100; ++i) {
    if (::waitpid(pid, &status, __WALL | WNOHANG) == pid) return true;
    std::this_thread::sleep_for(10ms);
  }
  return false;
}

/// Stops the process where it waits in a system call; whoever computes is let go on for a moment.
void stop_in_call(pid_t pid, user_regs_struct& registers) {
  constexpr long kSyscall = 0x050f;
  for (int i = 0; i < 500; ++i) {
    int status = 0;
    EXPECT_EQ(::ptrace(PTRACE_INTERRUPT, pid, nullptr, nullptr), 0);
    EXPECT_EQ(::waitpid(pid, &status, __WALL), pid);
    EXPECT_EQ(::ptrace(PTRACE_GETREGS, pid, nullptr, &registers), 0);
    errno = 0;
    long behind = ::ptrace(PTRACE_PEEKTEXT, pid, registers.rip - 2, nullptr);
    if (errno == 0 && (behind & 0xffff) == kSyscall) return;
    EXPECT_EQ(::ptrace(PTRACE_CONT, pid, nullptr, nullptr), 0);
    std::this_thread::sleep_for(10ms);
  }
  ADD_FAILURE() << "it never waits in a system call";
}

/// What the call returned in the process `pid`; nothing if it was ended.
std::optional<long> call_in(pid_t pid, const Call& call) {
  int status = 0;
  EXPECT_EQ(::ptrace(PTRACE_SEIZE, pid, nullptr, nullptr), 0) << ::strerror(errno);
  user_regs_struct before{}, registers{};
  stop_in_call(pid, before);
  registers = before;
  // The instruction for a system call is right behind.
  registers.rip -= 2;
  registers.rax = static_cast<unsigned long>(call.number);
  registers.orig_rax = ~0ul;
  registers.rdi = call.arguments[0];
  registers.rsi = call.arguments[1];
  registers.rdx = call.arguments[2];
  registers.r10 = registers.r8 = registers.r9 = 0;
  EXPECT_EQ(::ptrace(PTRACE_SETREGS, pid, nullptr, &registers), 0);
  EXPECT_EQ(::ptrace(PTRACE_SINGLESTEP, pid, nullptr, nullptr), 0);
  if (!has_stopped(pid, status) || WIFSIGNALED(status)) {
    ::kill(pid, SIGKILL);
    return std::nullopt;
  }
  EXPECT_EQ(::ptrace(PTRACE_GETREGS, pid, nullptr, &registers), 0);
  EXPECT_EQ(::ptrace(PTRACE_SETREGS, pid, nullptr, &before), 0);
  EXPECT_EQ(::ptrace(PTRACE_DETACH, pid, nullptr, nullptr), 0);
  return static_cast<long>(registers.rax);
}

class EngineTakenOver : public EngineVm {
 protected:
  /// One call in a machine of its own.
  std::optional<long> call_in_machine(const engine::Launcher& launcher, const Call& call) {
    Place place = lab().place();
    auto devices = place.devices();
    devices.launcher = launcher;
    auto machine = lab().run(engine().clone(snapshot(), devices, place.control_path));
    if (!machine) throw std::runtime_error(machine.error().message());
    return call_in(machine.value()->record().pid, call);
  }
};

TEST_F(EngineTakenOver, ItsCallsAreRefused) {
  auto jail = lab().vmm_jail();
  auto executor = lab().executor();
  engine::Launcher jailed = [&](const ProcessSpec& spec) {
    return jail::launch_vmm(executor, spec, jail);
  };
  engine::Launcher plain = [&](const ProcessSpec& spec) { return spawn(executor, spec); };
  int ours_alone = 0;
  for (const Call& call : kCalls) {
    auto result = call_in_machine(jailed, call);
    std::string text = result ? ::strerror(static_cast<int>(-*result)) : "ended";
    EXPECT_TRUE(!result || *result == -EPERM || *result == -ENOSYS) << call.what << ": " << text;
    // Without the jail, QEMU's own filter is all there is.
    auto without = call_in_machine(plain, call);
    bool refused_by_qemu = !without || *without == -EPERM || *without == -ENOSYS;
    if (!refused_by_qemu) ++ours_alone;
    std::cout << "called for " << call.what << ": " << text
              << (refused_by_qemu ? "" : " (by our filter alone)") << "\n";
  }
  // Were the calls not made at all, this would not be so.
  EXPECT_GT(ours_alone, 15);
}

}  // namespace
}  // namespace hako::test
