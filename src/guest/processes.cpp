#include "guest/processes.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "base/log.h"

namespace hako::guest {
namespace {

constexpr size_t kChunk = 64 << 10;
/// A subscriber that has this much waiting holds the output back.
constexpr size_t kPendingLimit = 64 << 10;
constexpr int kLargePipe = 1 << 20;
/// Reads in a row before others get a turn.
constexpr int kReadsPerTurn = 16;

struct Pipe {
  Fd read, write;
};

/// Only our end, `ours`, is non-blocking: the program expects its own to block.
Result<Pipe> make_pipe(bool ours_is_write) {
  int fds[2];
  if (::pipe2(fds, O_CLOEXEC) < 0) return Error::from_errno(errno, "pipe");
  Pipe pipe{Fd(fds[0]), Fd(fds[1])};
  int ours = ours_is_write ? fds[1] : fds[0];
  if (::fcntl(ours, F_SETFL, O_NONBLOCK | (ours_is_write ? O_WRONLY : O_RDONLY)) < 0)
    return Error::from_errno(errno, "pipe");
  return pipe;
}

}  // namespace

Task<bool> Subscription::wait(Duration limit) {
  if (!pending_.empty() || ended_) co_return true;
  wake_.expires_after(limit);
  boost::system::error_code ec;
  co_await wake_.async_wait(asio::redirect_error(asio::use_awaitable, ec));
  auto state = co_await asio::this_coro::cancellation_state;
  if (state.cancelled() != asio::cancellation_type::none)
    throw boost::system::system_error(asio::error::operation_aborted);
  co_return !pending_.empty() || ended_;
}

void Subscription::take(std::string& frames) {
  frames.clear();
  std::swap(frames, pending_);
}

Process::Process(asio::any_io_executor executor, pid_t pid, wire::StartRequest request)
    : executor_(std::move(executor)), pid_(pid), request_(std::move(request)) {}

std::shared_ptr<Subscription> Process::subscribe() {
  auto subscription = std::make_shared<Subscription>(executor_);
  wire::append_start_event(subscription->pending_, static_cast<uint32_t>(pid_));
  if (end_) {
    wire::append_end_event(subscription->pending_, *end_);
    subscription->ended_ = true;
  } else {
    subscribers_.push_back(subscription);
  }
  return subscription;
}

void Process::unsubscribe(const std::shared_ptr<Subscription>& subscription) {
  subscribers_.remove(subscription);
  room_.notify_all();
}

bool Process::has_room() const {
  for (const auto& subscriber : subscribers_)
    if (subscriber->pending_.size() >= kPendingLimit) return false;
  return true;
}

void Process::publish(wire::OutputStream stream, std::string_view bytes) {
  for (const auto& subscriber : subscribers_) {
    wire::append_data_event(subscriber->pending_, stream, bytes);
    subscriber->notify();
  }
}

ssize_t Process::read_available(wire::OutputStream stream, int fd, size_t most) {
  // Shared by all processes: its content is passed on before anything else runs.
  static char chunk[kChunk];
  ssize_t n;
  do {
    n = ::read(fd, chunk, std::min(most, kChunk));
  } while (n < 0 && errno == EINTR);
  if (n > 0) publish(stream, {chunk, static_cast<size_t>(n)});
  if (n < 0 && errno == EAGAIN) return -1;
  // A terminal whose last program has gone gives EIO.
  return n < 0 ? 0 : n;
}

Task<void> Process::read_output(wire::OutputStream stream, std::shared_ptr<Descriptor> from) {
  auto self = shared_from_this();
  boost::system::error_code ec;
  bool more = false;
  int reads = 0;
  for (;;) {
    while (from->is_open() && !has_room()) co_await room_.wait();
    if (from->is_open() && !more)
      co_await from->async_wait(Descriptor::wait_read,
                                asio::redirect_error(asio::use_awaitable, ec));
    else if (++reads % kReadsPerTurn == 0)
      co_await asio::post(asio::use_awaitable);
    // Closed by drain() or finish(): nobody waits for this output any longer.
    if (ec || !from->is_open()) co_return;
    ssize_t n = read_available(stream, from->native_handle(), kChunk);
    if (n == 0) break;
    // A full chunk suggests that there is more; after less, asking would only say no.
    more = n == static_cast<ssize_t>(kChunk);
  }
  // The master of a terminal stays open for resizing until the process has ended.
  if (from != master_) from->close(ec);
  --open_outputs_;
  finish_if_complete();
}

void Process::exited(int code, int signal) {
  exit_ = wire::describe_end(code, signal);
  if (signalled_) drain();
  finish_if_complete();
}

void Process::drain() {
  boost::system::error_code ignored;
  for (auto& [stream, from] : outputs_) {
    if (!from->is_open()) continue;
    // Bounded by what is there now: a descendant may go on writing for ever.
    int waiting = 0;
    if (::ioctl(from->native_handle(), FIONREAD, &waiting) < 0) waiting = 0;
    while (waiting > 0) {
      ssize_t n = read_available(stream, from->native_handle(), static_cast<size_t>(waiting));
      if (n <= 0) break;
      waiting -= static_cast<int>(n);
    }
    from->close(ignored);
  }
  open_outputs_ = 0;
  room_.notify_all();
}

void Process::finish_if_complete() {
  if (exit_ && open_outputs_ == 0 && !end_) finish();
}

void Process::finish() {
  end_ = exit_;
  deadline_.reset();
  boost::system::error_code ignored;
  if (master_) master_->close(ignored);
  if (input_waiter_) input_waiter_->close(ignored);
  input_.reset();
  outputs_.clear();
  for (const auto& subscriber : subscribers_) {
    wire::append_end_event(subscriber->pending_, *end_);
    subscriber->ended_ = true;
    subscriber->notify();
  }
  subscribers_.clear();
  table_->ended(shared_from_this());
}

Task<Result<void>> Process::write_input(bool to_pty, std::string_view bytes) {
  auto self = shared_from_this();
  if (to_pty != has_terminal())
    co_return Error(ErrorCode::internal, to_pty ? "process has no terminal"
                                                : "process has a terminal: send input to it");
  auto turn = co_await input_turn_.take();
  // A long input deserves a pipe that takes it in few steps.
  if (!to_pty && bytes.size() > kChunk && input_ && !std::exchange(pipe_enlarged_, true))
    ::fcntl(input_.get(), F_SETPIPE_SZ, kLargePipe);
  while (!bytes.empty()) {
    auto waiter = to_pty ? master_ : input_waiter_;
    int fd = waiter && waiter->is_open() ? waiter->native_handle() : input_.get();
    if (fd < 0) co_return Error(ErrorCode::internal, "stdin is not enabled or is closed");
    ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n >= 0) {
      bytes.remove_prefix(static_cast<size_t>(n));
      continue;
    }
    if (errno == EINTR) continue;
    if (errno != EAGAIN) co_return Error(ErrorCode::internal, "the process has closed its stdin");
    if (!waiter) {
      input_waiter_ = std::make_shared<Descriptor>(executor_, input_.release());
      waiter = input_waiter_;
    }
    boost::system::error_code ec;
    co_await waiter->async_wait(Descriptor::wait_write,
                                asio::redirect_error(asio::use_awaitable, ec));
    if (ec) co_return Error(ErrorCode::internal, "stdin was closed");
  }
  co_return ok();
}

Result<void> Process::close_input() {
  if (has_terminal())
    return Error(ErrorCode::failed_precondition, "the stdin of a terminal cannot be closed");
  boost::system::error_code ignored;
  if (input_waiter_) input_waiter_->close(ignored);
  input_.reset();
  return ok();
}

Result<void> Process::send_signal(int signal) {
  signalled_ = true;
  if (exit_) {
    // Only descendants that hold its output are left; nobody waits for them any longer.
    if (!end_) {
      drain();
      finish_if_complete();
    }
    return ok();
  }
  // Not reaped yet, so the pid is still this process's.
  if (::kill(pid_, signal) < 0 && errno != ESRCH) return Error::from_errno(errno, "send signal");
  return ok();
}

Result<void> Process::resize(const wire::PtySize& size) {
  if (!has_terminal()) return Error(ErrorCode::internal, "process has no terminal");
  if (!master_->is_open()) return ok();
  return resize_terminal(master_->native_handle(), size);
}

void Process::kill_after(Duration limit) {
  deadline_.emplace(executor_, limit);
  deadline_->async_wait([weak = weak_from_this()](boost::system::error_code ec) {
    auto self = weak.lock();
    if (ec || !self || self->ended()) return;
    self->deadline_passed_ = true;
    if (auto sent = self->send_signal(SIGKILL); !sent)
      log_warn("deadline_kill_failed", {{"error", sent.error().message()}});
  });
}

ProcessTable::ProcessTable(asio::any_io_executor executor, Limits limits)
    : executor_(executor), limits_(limits), tasks_(executor), forget_timer_(executor) {}

ProcessTable::~ProcessTable() = default;

Result<std::shared_ptr<Process>> ProcessTable::start(StartOptions options) {
  if (running_ >= limits_.running)
    return Error(ErrorCode::resource_exhausted, "too many processes");
  const wire::StartRequest& request = options.request;
  SpawnPlan plan;
  HAKO_TRY(auto path, find_program(request.process.cmd, options.search_path, options.cwd));
  plan.path = std::move(path);
  plan.argv.reserve(request.process.args.size() + 1);
  plan.argv.push_back(request.process.cmd);
  for (const auto& argument : request.process.args) plan.argv.push_back(argument);
  plan.env = std::move(options.env);
  plan.cwd = std::move(options.cwd);
  plan.groups = std::move(options.groups);
  plan.change_user = options.change_user;
  plan.reset_oom_score = options.reset_oom_score;
  plan.group = options.group;

  Terminal terminal;
  Pipe in, out, err;
  Fd null;
  if (request.pty) {
    std::optional<uid_t> owner;
    if (options.change_user) owner = options.user.uid;
    HAKO_TRY(auto opened, open_terminal(*request.pty, owner));
    terminal = std::move(opened);
    plan.terminal = true;
    plan.in = plan.out = plan.err = terminal.slave.get();
  } else {
    if (request.has_stdin.value_or(true)) {
      HAKO_TRY(auto made, make_pipe(true));
      in = std::move(made);
      plan.in = in.read.get();
    } else {
      HAKO_TRY(auto opened, open_file("/dev/null", O_RDONLY));
      null = std::move(opened);
      plan.in = null.get();
    }
    HAKO_TRY(auto made_out, make_pipe(false));
    out = std::move(made_out);
    HAKO_TRY(auto made_err, make_pipe(false));
    err = std::move(made_err);
    plan.out = out.write.get();
    plan.err = err.write.get();
  }
  plan.user = std::move(options.user);
  HAKO_TRY(auto pid, spawn(plan));

  auto process = std::make_shared<Process>(executor_, pid, std::move(options.request));
  process->table_ = this;
  auto read_from = [&](wire::OutputStream stream, Fd fd) {
    auto descriptor = std::make_shared<Process::Descriptor>(executor_, fd.release());
    process->outputs_.emplace_back(stream, descriptor);
    ++process->open_outputs_;
    return descriptor;
  };
  if (plan.terminal) {
    process->master_ = read_from(wire::OutputStream::pty, std::move(terminal.master));
  } else {
    process->input_ = std::move(in.write);
    read_from(wire::OutputStream::out, std::move(out.read));
    read_from(wire::OutputStream::err, std::move(err.read));
  }
  for (auto& [stream, descriptor] : process->outputs_)
    tasks_.spawn("output", process->read_output(stream, descriptor));
  if (options.deadline) process->kill_after(*options.deadline);
  // A process remembered under the same number has ended long since.
  processes_[pid] = process;
  ++running_;
  return process;
}

Result<std::shared_ptr<Process>> ProcessTable::find(const wire::ProcessSelector& selector) {
  if (selector.pid) {
    auto found = processes_.find(static_cast<pid_t>(*selector.pid));
    if (found != processes_.end()) return found->second;
    return Error(ErrorCode::not_found,
                 "process with pid " + std::to_string(*selector.pid) + " not found");
  }
  std::shared_ptr<Process> ended;
  for (const auto& [pid, process] : processes_) {
    if (process->tag() != selector.tag) continue;
    if (!process->ended()) return process;
    ended = process;
  }
  if (ended) return ended;
  return Error(ErrorCode::not_found, "process with tag " + selector.tag + " not found");
}

std::vector<std::shared_ptr<Process>> ProcessTable::running() const {
  std::vector<std::shared_ptr<Process>> list;
  for (const auto& [pid, process] : processes_)
    if (!process->ended()) list.push_back(process);
  return list;
}

void ProcessTable::ended(std::shared_ptr<Process> process) {
  --running_;
  ended_.emplace_back(std::chrono::steady_clock::now() + limits_.remember_for, std::move(process));
  forget_old();
}

void ProcessTable::forget_old() {
  auto now = std::chrono::steady_clock::now();
  while (!ended_.empty() && (ended_.front().first <= now || ended_.size() > limits_.remembered)) {
    auto& process = ended_.front().second;
    auto found = processes_.find(process->pid());
    if (found != processes_.end() && found->second == process) processes_.erase(found);
    ended_.pop_front();
  }
  if (ended_.empty() || forget_timer_set_) return;
  forget_timer_set_ = true;
  forget_timer_.expires_at(ended_.front().first);
  forget_timer_.async_wait([this](boost::system::error_code ec) {
    if (ec) return;
    forget_timer_set_ = false;
    forget_old();
  });
}

void ProcessTable::reap_all() {
  for (;;) {
    int status = 0;
    pid_t pid = ::waitpid(-1, &status, WNOHANG);
    if (pid <= 0) return;
    auto found = processes_.find(pid);
    // An adopted orphan, or the namesake of one that has ended.
    if (found == processes_.end() || found->second->exit_) continue;
    auto process = found->second;
    if (WIFSIGNALED(status)) {
      process->exited(-1, WTERMSIG(status));
    } else {
      process->exited(WEXITSTATUS(status), 0);
    }
  }
}

Task<void> ProcessTable::reap_children() {
  sigset_t set;
  ::sigemptyset(&set);
  ::sigaddset(&set, SIGCHLD);
  asio::posix::stream_descriptor signals(executor_,
                                         ::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  for (;;) {
    co_await signals.async_wait(asio::posix::stream_descriptor::wait_read, asio::use_awaitable);
    signalfd_siginfo info[4];
    while (::read(signals.native_handle(), info, sizeof info) > 0) {
    }
    reap_all();
  }
}

Task<void> ProcessTable::stop() {
  forget_timer_.cancel();
  co_await tasks_.stop();
}

}  // namespace hako::guest
