#include "base/process.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

// glibc 2.36 forgot to declare these with C linkage.
extern "C" {
#include <sys/pidfd.h>
}

#include <cerrno>
#include <charconv>
#include <cstring>

namespace hako {
namespace {
constexpr auto kKillAgain = std::chrono::seconds(1);
}  // namespace

std::string ExitStatus::describe() const {
  if (!known) return "ended";
  if (signal != 0) return std::string("killed by signal ") + ::strsignal(signal);
  return "exit status " + std::to_string(code);
}

Process::Process(asio::any_io_executor executor, pid_t pid, Fd pidfd, uint64_t start_time,
                 bool is_child)
    : pid_(pid),
      start_time_(start_time),
      is_child_(is_child),
      pidfd_(std::make_unique<asio::posix::stream_descriptor>(executor)) {
  pidfd_->assign(pidfd.get());
  // Only now: a loop that does not take it throws, and it would be lost.
  (void)pidfd.release();
}

Process::Process(Process&& other) noexcept { *this = std::move(other); }

Process& Process::operator=(Process&& other) noexcept {
  std::swap(pid_, other.pid_);
  std::swap(start_time_, other.start_time_);
  std::swap(is_child_, other.is_child_);
  std::swap(owned_, other.owned_);
  std::swap(status_, other.status_);
  std::swap(pidfd_, other.pidfd_);
  std::swap(failures_, other.failures_);
  return *this;
}

Process::~Process() {
  if (!pidfd_ || !owned_ || status_) return;
  send_signal(SIGKILL);
  if (is_child_) reap();
}

void Process::reap() {
  if (status_) return;
  if (!is_child_) {
    status_ = ExitStatus{.known = false};
    return;
  }
  siginfo_t info{};
  int result;
  do {
    result = ::waitid(P_PIDFD, static_cast<id_t>(pidfd_->native_handle()), &info, WEXITED);
  } while (result < 0 && errno == EINTR);
  ExitStatus status;
  if (result < 0) {
    status.known = false;
  } else if (info.si_code == CLD_EXITED) {
    status.code = info.si_status;
  } else {
    status.signal = info.si_status;
  }
  status_ = status;
}

Task<ExitStatus> Process::wait() {
  // A pidfd becomes readable when the process has ended.
  while (!ended()) co_await pidfd_->async_wait(asio::posix::stream_descriptor::wait_read,
                                               asio::use_awaitable);
  reap();
  co_return *status_;
}

bool Process::ended() {
  if (status_) return true;
  pollfd poll_fd{pidfd_->native_handle(), POLLIN, 0};
  int n = ::poll(&poll_fd, 1, 0);
  return n == 1 && (poll_fd.revents & POLLIN);
}

void Process::send_signal(int signal) {
  if (pidfd_ && !status_) ::pidfd_send_signal(pidfd_->native_handle(), signal, nullptr, 0);
}

Task<Result<void>> Process::wait_end() {
  co_await wait();
  co_return ok();
}

Task<void> Process::kill() {
  for (;;) {
    send_signal(SIGKILL);
    // A signal that was not taken is sent again: else its effect is waited for without end.
    auto wait = wait_end();
    auto in_time = co_await with_deadline(kKillAgain, std::move(wait));
    if (in_time) co_return;
  }
}

void Process::release() { owned_ = false; }

Result<Process> Process::adopt(asio::any_io_executor executor, pid_t pid, uint64_t start_time) {
  Fd pidfd(::pidfd_open(pid, 0));
  if (!pidfd) return Error::from_errno(errno, "find process " + std::to_string(pid));
  // Read after pidfd_open: if the start time matches now, the pidfd is that process's.
  HAKO_TRY(auto actual, process_start_time(pid));
  if (actual != start_time)
    return Error(ErrorCode::not_found, "process " + std::to_string(pid) + " is another one now");
  try {
    return Process(executor, pid, std::move(pidfd), actual, false);
  } catch (const boost::system::system_error& refused) {
    return Error::from_errno(refused.code().value(), "watch process " + std::to_string(pid));
  }
}

Result<uint64_t> process_start_time(pid_t pid) {
  HAKO_TRY(auto stat, read_file("/proc/" + std::to_string(pid) + "/stat"));
  // The name in field 2 may hold spaces and parentheses: count from the last ')'.
  size_t position = stat.rfind(')');
  if (position == std::string::npos || position + 2 >= stat.size())
    return Error(ErrorCode::internal, "malformed /proc stat");
  if (char state = stat[position + 2]; state == 'Z' || state == 'X')
    return Error(ErrorCode::not_found, "process " + std::to_string(pid) + " has ended");
  for (int field = 2; field < 22; ++field) {
    position = stat.find(' ', position + 1);
    if (position == std::string::npos) return Error(ErrorCode::internal, "malformed /proc stat");
  }
  uint64_t ticks = 0;
  std::from_chars(stat.data() + position + 1, stat.data() + stat.size(), ticks);
  return ticks;
}

namespace {

struct ChildFailure {
  int os_error;
  char what[64];
};

/// Everything the child needs, prepared before fork: afterwards it must not allocate.
struct ChildPlan {
  const char* path;
  std::vector<char*> argv, env;
  std::vector<FdMapping> fds;
  int failure_fd;
  ChildSetup setup;
};

[[noreturn]] void child_fail(int failure_fd, int os_error, const char* what) {
  ChildFailure failure{os_error, {}};
  ::strncpy(failure.what, what, sizeof failure.what - 1);
  [[maybe_unused]] ssize_t n = ::write(failure_fd, &failure, sizeof failure);
  ::_exit(127);
}

[[noreturn]] void run_child(ChildPlan& plan) {
  // Undo what the parent set up for itself.
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  struct sigaction standard {};
  standard.sa_handler = SIG_DFL;
  for (int signal = 1; signal < 32; ++signal) ::sigaction(signal, &standard, nullptr);
  ::setsid();

  // First move every source out of the way of every target, then put each in its place.
  int lowest = 3;
  for (const FdMapping& map : plan.fds) lowest = map.childs >= lowest ? map.childs + 1 : lowest;
  int failure_fd = ::fcntl(plan.failure_fd, F_DUPFD_CLOEXEC, lowest);
  if (failure_fd < 0) child_fail(plan.failure_fd, errno, "move descriptor");
  for (FdMapping& map : plan.fds) {
    map.ours = ::fcntl(map.ours, F_DUPFD, lowest);
    if (map.ours < 0) child_fail(failure_fd, errno, "move descriptor");
  }
  bool standard_given[3] = {};
  for (const FdMapping& map : plan.fds) {
    if (map.childs < 3) standard_given[map.childs] = true;
    if (::dup2(map.ours, map.childs) < 0) child_fail(failure_fd, errno, "place descriptor");
  }
  for (int fd = 0; fd < 3; ++fd) {
    if (standard_given[fd]) continue;
    int null = ::open("/dev/null", O_RDWR);
    if (null < 0) child_fail(failure_fd, errno, "open /dev/null");
    if (null != fd) {
      ::dup2(null, fd);
      ::close(null);
    }
  }
  if (plan.setup.run) {
    const char* what = "prepare child";
    if (int os_error = plan.setup.run(plan.setup.context, &what))
      child_fail(failure_fd, os_error, what);
  }
  // Close all but the standard three, the targets and (close-on-exec) the failure pipe.
  int first = 3;
  while (true) {
    int next = -1;
    for (const FdMapping& map : plan.fds)
      if (map.childs >= first && (next < 0 || map.childs < next)) next = map.childs;
    if (failure_fd >= first && (next < 0 || failure_fd < next)) next = failure_fd;
    if (next < 0) break;
    if (next > first) ::close_range(static_cast<unsigned>(first), static_cast<unsigned>(next - 1), 0);
    first = next + 1;
  }
  ::close_range(static_cast<unsigned>(first), ~0u, 0);
  ::syscall(SYS_execve, plan.path, plan.argv.data(), plan.env.data(), 0, 0, plan.setup.exec_mark);
  child_fail(failure_fd, errno, "exec");
}

/// glibc's fork() knows no namespaces; what it does beyond the call is for children that allocate.
pid_t fork_into(unsigned long namespaces) {
  return static_cast<pid_t>(::syscall(SYS_clone, namespaces | SIGCHLD, 0, 0, 0, 0));
}

struct Child {
  pid_t pid = -1;
  Fd pidfd, failures;
};

Result<Child> fork_child(const ProcessSpec& spec, ChildSetup setup) {
  int pipe_fds[2];
  if (::pipe2(pipe_fds, O_CLOEXEC) < 0) return Error::from_errno(errno, "pipe");
  Child child;
  child.failures = Fd(pipe_fds[0]);
  Fd failure_write(pipe_fds[1]);

  ChildPlan plan{spec.path.c_str(), {}, {}, spec.fds, failure_write.get(), setup};
  for (const auto& argument : spec.argv) plan.argv.push_back(const_cast<char*>(argument.c_str()));
  plan.argv.push_back(nullptr);
  for (const auto& variable : spec.env) plan.env.push_back(const_cast<char*>(variable.c_str()));
  plan.env.push_back(nullptr);

  // No signal handler of ours may run in the child before it has reset them.
  sigset_t all, before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  child.pid = fork_into(setup.namespaces);
  int fork_error = errno;
  if (child.pid == 0) run_child(plan);
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (child.pid < 0) return Error::from_errno(fork_error, "fork");

  // Until we reap it the pid cannot be reused, so this names our child.
  child.pidfd = Fd(::pidfd_open(child.pid, 0));
  if (child.pidfd) return child;
  int os_error = errno;
  ::kill(child.pid, SIGKILL);
  while (::waitpid(child.pid, nullptr, 0) < 0 && errno == EINTR) {
  }
  return Error::from_errno(os_error, "pidfd_open");
}

/// What a child has said, if it has said something, before its end of the pipe was closed.
Result<void> outcome(const ChildFailure& failure, size_t bytes) {
  if (bytes != sizeof failure) return ok();
  std::string what(failure.what, ::strnlen(failure.what, sizeof failure.what));
  return Error::from_errno(failure.os_error, what);
}

Result<Process> watch(asio::any_io_executor executor, Child& child) {
  try {
    auto began = process_start_time(child.pid);
    Process process(executor, child.pid, std::move(child.pidfd), began ? began.value() : 0, true);
    // Without it nobody would find the process again after a restart of ours. One that has ended, if
    // only just, needs not be found.
    if (!began && began.error().code() != ErrorCode::not_found)
      return Error(ErrorCode::unavailable,
                   "read when process " + std::to_string(child.pid) + " began");
    return Result<Process>(std::move(process));
  } catch (const boost::system::system_error& refused) {
    ::kill(child.pid, SIGKILL);
    while (::waitpid(child.pid, nullptr, 0) < 0 && errno == EINTR) {
    }
    return Error::from_errno(refused.code().value(), "watch process");
  }
}

}  // namespace

Result<Process> spawn(asio::any_io_executor executor, const ProcessSpec& spec, ChildSetup setup) {
  HAKO_TRY(auto child, fork_child(spec, setup));
  ChildFailure failure{};
  ssize_t n;
  do {
    n = ::read(child.failures.get(), &failure, sizeof failure);
  } while (n < 0 && errno == EINTR);
  auto started = outcome(failure, n < 0 ? 0 : static_cast<size_t>(n));
  // A child that failed is reaped with its process.
  auto process = watch(executor, child);
  if (!started) return started.error().with_context(spec.path);
  return process;
}

Result<Process> start_spawning(asio::any_io_executor executor, const ProcessSpec& spec,
                               ChildSetup setup) {
  HAKO_TRY(auto child, fork_child(spec, setup));
  HAKO_TRY(auto process, watch(executor, child));
  try {
    process.failures_ =
        std::make_unique<asio::posix::stream_descriptor>(executor, child.failures.get());
    child.failures.release();
  } catch (const boost::system::system_error& refused) {
    return Error::from_errno(refused.code().value(), "watch a process's start");
  }
  return Result<Process>(std::move(process));
}

Task<Result<void>> Process::started() {
  if (!failures_) co_return ok();
  ChildFailure failure{};
  boost::system::error_code error;
  size_t bytes = co_await asio::async_read(*failures_, asio::buffer(&failure, sizeof failure),
                                           asio::redirect_error(asio::use_awaitable, error));
  if (error == asio::error::operation_aborted) throw boost::system::system_error(error);
  failures_.reset();
  co_return outcome(failure, bytes);
}

}  // namespace hako
