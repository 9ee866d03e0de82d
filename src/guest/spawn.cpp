#include "guest/spawn.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <memory>

namespace hako::guest {
namespace {

enum class Step { none, terminal, descriptors, groups, user, cwd, exec };

struct ChildContext {
  const SpawnPlan* plan;
  char* const* argv;
  char* const* shell_argv;
  char* const* envp;
  sigset_t old_mask;
  // Written by the child, whose memory is ours.
  Step failed = Step::none;
  int os_error = 0;
};

/// ThreadSanitizer writes down which functions are under way, and would take those that the child never
/// comes back from for the parent's.
#define HAKO_IN_BORROWED_MEMORY __attribute__((no_sanitize("thread")))

HAKO_IN_BORROWED_MEMORY int fail(ChildContext& context, Step step) {
  context.os_error = errno;
  context.failed = step;
  ::syscall(SYS_exit_group, 127);
  return 127;
}

/// Runs on memory borrowed from the parent, which is stopped meanwhile: it must leave no trace
/// there but the context. Credentials are set by plain system calls, because the library's
/// functions would set those of the parent's other threads too.
HAKO_IN_BORROWED_MEMORY int run_child(void* argument) {
  auto& context = *static_cast<ChildContext*>(argument);
  const SpawnPlan& plan = *context.plan;
  ::setsid();
  if (plan.terminal && ::ioctl(plan.in, TIOCSCTTY, 0) < 0) return fail(context, Step::terminal);
  if (::dup2(plan.in, 0) < 0 || ::dup2(plan.out, 1) < 0 || ::dup2(plan.err, 2) < 0)
    return fail(context, Step::descriptors);
  ::close_range(3, ~0u, CLOSE_RANGE_CLOEXEC);
  if (plan.reset_oom_score) {
    int fd = ::open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd >= 0) {
      [[maybe_unused]] ssize_t n = ::write(fd, "0", 1);
      ::close(fd);
    }
  }
  if (plan.change_user) {
    if (::syscall(SYS_setgroups, plan.groups.size(), plan.groups.data()) < 0 ||
        ::syscall(SYS_setresgid, plan.user.gid, plan.user.gid, plan.user.gid) < 0)
      return fail(context, Step::groups);
    if (plan.user.uid != 0 &&
        ::syscall(SYS_setresuid, plan.user.uid, plan.user.uid, plan.user.uid) < 0)
      return fail(context, Step::user);
  }
  if (::chdir(plan.cwd.c_str()) < 0) return fail(context, Step::cwd);

  struct sigaction standard {};
  standard.sa_handler = SIG_DFL;
  ::sigaction(SIGPIPE, &standard, nullptr);
  ::sigprocmask(SIG_SETMASK, &context.old_mask, nullptr);
  ::execve(plan.path.c_str(), context.argv, context.envp);
  // A file without a #! line is a shell script, as execvp(3) has it.
  if (errno == ENOEXEC) ::execve("/bin/sh", context.shell_argv, context.envp);
  return fail(context, Step::exec);
}

/// clone(2) into a control group, which the library cannot do. Moving afterwards would make the
/// kernel wait for all processors. Returns the pid, or a negative errno.
long clone_into_group(int (*run)(void*), void* stack, size_t stack_size, void* argument,
                      int group) {
  clone_args arguments{};
  arguments.flags = CLONE_VM | CLONE_VFORK | CLONE_INTO_CGROUP;
  arguments.exit_signal = SIGCHLD;
  arguments.stack = reinterpret_cast<uintptr_t>(stack);
  arguments.stack_size = stack_size;
  arguments.cgroup = static_cast<uint64_t>(group);
  // These two keep their values across the call, and are not where a frame might be.
  register auto function asm("r8") = run;
  register void* parameter asm("r9") = argument;
  long result;
  // SAFETY: the child comes out on its own stack, where nothing of this frame is: it calls `run`,
  // which does not return, straight away.
  asm volatile(
      "syscall\n\t"
      "testq %%rax, %%rax\n\t"
      "jnz 1f\n\t"
      "xorl %%ebp, %%ebp\n\t"
      "movq %%r9, %%rdi\n\t"
      "callq *%%r8\n\t"
      "hlt\n"
      "1:"
      : "=a"(result)
      : "a"(SYS_clone3), "D"(&arguments), "S"(sizeof arguments), "r"(function), "r"(parameter)
      : "rcx", "r11", "cc", "memory");
  return result;
}

Error describe_failure(const ChildContext& context) {
  const SpawnPlan& plan = *context.plan;
  int os_error = context.os_error;
  switch (context.failed) {
    case Step::cwd:
      if (os_error == ENOENT)
        return Error(ErrorCode::invalid_argument, "cwd '" + plan.cwd + "' does not exist");
      return Error::from_errno(os_error, "cwd '" + plan.cwd + "'");
    case Step::exec:
      if (os_error == ENOENT)
        return Error(ErrorCode::invalid_argument,
                     "command '" + plan.argv[0] + "' not found, or its interpreter is missing");
      if (os_error == E2BIG)
        return Error(ErrorCode::invalid_argument, "arguments and environment are too long");
      return Error::from_errno(os_error, "start '" + plan.argv[0] + "'");
    case Step::terminal:
      return Error::from_errno(os_error, "take the terminal");
    case Step::groups:
      return Error::from_errno(os_error, "set groups");
    case Step::user:
      return Error::from_errno(os_error, "become user " + plan.user.name);
    default:
      return Error::from_errno(os_error, "start process");
  }
}

/// The stack children run on until exec. The lowest page is a guard.
class ChildStack {
 public:
  ChildStack()
      : base_(::mmap(nullptr, kSize, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0)) {
    if (base_ != MAP_FAILED) ::mprotect(base_, 4096, PROT_NONE);
  }
  bool valid() const { return base_ != MAP_FAILED; }
  void* base() const { return base_; }
  void* top() const { return static_cast<char*>(base_) + kSize; }

  static constexpr size_t kSize = 64 << 10;

 private:
  void* base_;
};

std::vector<char*> pointers(const std::vector<std::string>& strings, size_t from = 0) {
  std::vector<char*> list;
  list.reserve(strings.size() + 1);
  for (size_t i = from; i < strings.size(); ++i)
    list.push_back(const_cast<char*>(strings[i].c_str()));
  list.push_back(nullptr);
  return list;
}

}  // namespace

Result<pid_t> spawn(const SpawnPlan& plan) {
  static const ChildStack stack;
  if (!stack.valid()) return Error(ErrorCode::resource_exhausted, "no memory for a process");
  std::vector<char*> argv = pointers(plan.argv), env = pointers(plan.env);
  std::vector<char*> shell = pointers(plan.argv, 1);
  shell.insert(shell.begin(), const_cast<char*>(plan.path.c_str()));
  static char shell_name[] = "/bin/sh";
  shell.insert(shell.begin(), shell_name);

  ChildContext context{&plan, argv.data(), shell.data(), env.data(), {}};
  // No signal may be handled on the borrowed stack. The child starts with an empty mask: ours
  // blocks what we read from descriptors.
  sigset_t all, before;
  ::sigfillset(&all);
  ::sigemptyset(&context.old_mask);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  pid_t pid = -1;
  int os_error = 0;
  if (plan.group >= 0) {
    long result =
        clone_into_group(run_child, stack.base(), ChildStack::kSize, &context, plan.group);
    pid = static_cast<pid_t>(std::max(result, -1l));
    os_error = static_cast<int>(-result);
  }
  // Root in the box may have made the group unfit for processes, or removed it.
  bool no_group =
      os_error == EBUSY || os_error == EOPNOTSUPP || os_error == ENODEV || os_error == ENOENT;
  if (plan.group < 0 || (pid < 0 && no_group)) {
    pid = ::clone(run_child, stack.top(), CLONE_VM | CLONE_VFORK | SIGCHLD, &context);
    os_error = errno;
  }
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (pid < 0) return Error::from_errno(os_error, "start process");
  // A child that failed has ended; whoever reaps children reaps it as one it does not know.
  if (context.failed != Step::none) return describe_failure(context);
  return pid;
}

Result<std::string> find_program(const std::string& command, std::string_view search_path,
                                 const std::string& cwd) {
  auto not_found = [&] {
    return Error(ErrorCode::invalid_argument, "command '" + command + "' not found");
  };
  auto is_program = [](const std::string& path, bool& exists) {
    struct stat info {};
    if (::stat(path.c_str(), &info) < 0) return false;
    exists = true;
    return S_ISREG(info.st_mode) && (info.st_mode & 0111) != 0;
  };
  bool exists = false;
  auto no_program = [&](const std::string& path) {
    return Error(ErrorCode::permission_denied, "'" + path + "' is not an executable file");
  };
  if (command.find('/') != std::string::npos) {
    std::string path = command.front() == '/' ? command : cwd + "/" + command;
    if (is_program(path, exists)) return path;
    if (exists) return no_program(command);
    return not_found();
  }
  while (!search_path.empty()) {
    size_t colon = search_path.find(':');
    std::string candidate(search_path.substr(0, colon));
    search_path.remove_prefix(colon == std::string_view::npos ? search_path.size() : colon + 1);
    if (candidate.empty() || candidate.front() != '/') candidate = cwd + "/" + candidate;
    candidate += '/';
    candidate += command;
    if (is_program(candidate, exists)) return candidate;
  }
  return not_found();
}

Result<Terminal> open_terminal(const wire::PtySize& size, std::optional<uid_t> owner) {
  Terminal terminal;
  HAKO_TRY(auto master, open_file("/dev/ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK));
  int unlocked = 0;
  if (::ioctl(master.get(), TIOCSPTLCK, &unlocked) < 0)
    return Error::from_errno(errno, "unlock terminal");
  // By this call rather than by name: the name may lead to another devpts.
  Fd slave(::ioctl(master.get(), TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC));
  if (!slave) return Error::from_errno(errno, "open terminal");
  HAKO_TRYV(resize_terminal(master.get(), size));
  if (owner && ::fchown(slave.get(), *owner, static_cast<gid_t>(-1)) < 0)
    return Error::from_errno(errno, "give away terminal");
  terminal.master = std::move(master);
  terminal.slave = std::move(slave);
  return terminal;
}

Result<void> resize_terminal(int master, const wire::PtySize& size) {
  winsize window{};
  window.ws_col = size.cols;
  window.ws_row = size.rows;
  if (::ioctl(master, TIOCSWINSZ, &window) < 0) return Error::from_errno(errno, "resize terminal");
  return ok();
}

}  // namespace hako::guest
