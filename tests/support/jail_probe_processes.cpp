// Other processes, programs, and its own limits.
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>

#include "support/jail_probe.h"

namespace hako::jail_probe {
namespace {

constexpr int kMany = 400;

int pid_in(const std::string& value) {
  return std::atoi(value.c_str());
}

int signal_process(const std::string& pid) {
  return result_of(::kill(pid_in(pid), 0));
}

int signal_thread(const std::string& pid) {
  return result_of(::syscall(SYS_tgkill, pid_in(pid), pid_in(pid), 0));
}

int open_process(const std::string& pid) {
  return result_of(::syscall(SYS_pidfd_open, pid_in(pid), 0));
}

int trace(const std::string& pid) {
  return result_of(::ptrace(PTRACE_SEIZE, pid_in(pid), nullptr, nullptr));
}

int read_memory(const std::string& value) {
  size_t colon = value.find(':');
  char byte;
  iovec mine{&byte, 1};
  iovec theirs{reinterpret_cast<void*>(std::strtoull(value.c_str() + colon + 1, nullptr, 16)), 1};
  return result_of(::process_vm_readv(pid_in(value), &mine, 1, &theirs, 1, 0));
}

int run_program(const std::string& path) {
  ::execl(path.c_str(), "probe", "am-i-here", nullptr);
  return errno;
}

/// The program that runs then answers for us.
int run_setuid_program(const std::string& path) {
  ::execl(path.c_str(), "probe", "am-i-root", nullptr);
  return errno;
}

/// Bytes of one's own, as a program.
int run_from_memory(const std::string& from) {
  int program = static_cast<int>(::syscall(SYS_memfd_create, "program", 0));
  if (program < 0) return errno;
  char buffer[65536];
  off_t at = 0;
  for (ssize_t n; (n = ::pread(std::atoi(from.c_str()), buffer, sizeof buffer, at)) > 0; at += n)
    if (::write(program, buffer, static_cast<size_t>(n)) != n) return errno;
  char name[] = "probe", argument[] = "am-i-here";
  char* argv[] = {name, argument, nullptr};
  char* env[] = {nullptr};
  ::syscall(SYS_execveat, program, "", argv, env, 0x1000);
  return errno;
}

int make_process(const std::string&) {
  pid_t child = ::fork();
  if (child < 0) return errno;
  if (child == 0) ::_exit(0);
  ::waitpid(child, nullptr, 0);
  return 0;
}

/// As many as there shall never be.
int make_many_processes(const std::string&) {
  int made = 0, error = 0;
  pid_t children[kMany];
  for (; made < kMany; ++made) {
    children[made] = ::fork();
    if (children[made] < 0) {
      error = errno;
      break;
    }
    if (children[made] == 0) {
      ::pause();
      ::_exit(0);
    }
  }
  for (int i = 0; i < made; ++i) {
    ::kill(children[i], SIGKILL);
    ::waitpid(children[i], nullptr, 0);
  }
  return error;
}

void* wait_forever(void*) {
  for (;;) ::poll(nullptr, 0, -1);
}

int make_many_threads(const std::string&) {
  pthread_attr_t small;
  ::pthread_attr_init(&small);
  ::pthread_attr_setstacksize(&small, 64 << 10);
  for (int i = 0; i < kMany; ++i) {
    pthread_t thread;
    if (int error = ::pthread_create(&thread, &small, wait_forever, nullptr)) return error;
  }
  return 0;
}

int take_many_descriptors(const std::string&) {
  for (int i = 0; i < kMany; ++i)
    if (::dup(0) < 0) return errno;
  return 0;
}

int dump_core(const std::string&) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_CORE, &limit) < 0) return errno;
  return limit.rlim_cur > 1 ? 0 : EFBIG;
}

int raise_limit(const std::string&) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) < 0) return errno;
  limit.rlim_max += 1;
  return result_of(::setrlimit(RLIMIT_NOFILE, &limit));
}

int lock_memory(const std::string&) {
  void* memory =
      ::mmap(nullptr, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return result_of(::mlock(memory, 1 << 20));
}

int become_root(const std::string&) {
  return result_of(::syscall(SYS_setresuid, 0, 0, 0));
}

int take_groups(const std::string&) {
  gid_t group = 0;
  return result_of(::syscall(SYS_setgroups, 1, &group));
}

int switch_randomisation_off(const std::string&) {
  return result_of(::personality(ADDR_NO_RANDOMIZE));
}

int raise_priority(const std::string&) {
  return result_of(::setpriority(PRIO_PROCESS, 0, -5));
}

constexpr Attempt kAttempts[] = {
    {"signal-process", signal_process},
    {"signal-thread", signal_thread},
    {"open-process", open_process},
    {"trace", trace},
    {"read-memory", read_memory},
    {"run-program", run_program},
    {"run-setuid-program", run_setuid_program},
    {"run-from-memory", run_from_memory},
    {"make-process", make_process},
    {"make-many-processes", make_many_processes},
    {"make-many-threads", make_many_threads},
    {"take-many-descriptors", take_many_descriptors},
    {"dump-core", dump_core},
    {"raise-limit", raise_limit},
    {"lock-memory", lock_memory},
    {"become-root", become_root},
    {"take-groups", take_groups},
    {"switch-randomisation-off", switch_randomisation_off},
    {"raise-priority", raise_priority},
};

}  // namespace

std::span<const Attempt> process_attempts() {
  return kAttempts;
}

}  // namespace hako::jail_probe
