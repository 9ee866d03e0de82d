#include <unistd.h>

#include <csignal>
#include <cstdlib>

#include "cli/commands.h"
#include "cli/duration.h"
#include "cli/lifecycle.h"
#include "cli/output.h"
#include "cli/repository.h"
#include "cli/session.h"
#include "cli/terminal.h"
#include "cli/text.h"

namespace hako::cli {
namespace {

constexpr int kBrokenPipe = 128 + SIGPIPE;
/// What a command gets to end by itself after Ctrl-C.
constexpr std::chrono::seconds kCommandGrace{3};

/// What becomes of the command when hako is told to stop.
enum class WhenStopped {
  leave,  ///< its box is destroyed with it
  end,    ///< it is asked, then made, to end
};

Session::Spec make_spec(const CommandOptions& options) {
  Session::Spec spec;
  spec.timeout = options.timeout;
  wire::ProcessConfig& process = spec.start.process;
  process.cmd = options.argv.front();
  process.args.assign(options.argv.begin() + 1, options.argv.end());
  if (!options.cwd.empty()) process.cwd = options.cwd;
  if (options.terminal) {
    spec.start.pty = terminal_size();
    const char* type = std::getenv("TERM");
    process.envs.emplace_back("TERM", type && *type ? type : "xterm-256color");
    process.envs.emplace_back("LANG", "C.UTF-8");
  }
  process.envs.insert(process.envs.end(), options.env.begin(), options.env.end());
  return spec;
}

Task<void> follow_size(Session& session) {
  asio::signal_set changed(co_await asio::this_coro::executor, SIGWINCH);
  while (true) {
    co_await changed.async_wait(asio::use_awaitable);
    auto told = co_await session.resize(terminal_size());
    // A size that did not get through spoils the picture, not the work.
    static_cast<void>(told);
  }
}

Task<void> end_when_stopped(Session& session, Interrupts& interrupts) {
  using namespace asio::experimental::awaitable_operators;
  co_await interrupts.wait();
  auto asked = co_await session.send_signal("SIGNAL_SIGTERM");
  static_cast<void>(asked);
  auto again = interrupts.wait_again();
  auto grace = sleep_for(kCommandGrace);
  co_await (std::move(again) || std::move(grace));
  auto made = co_await session.send_signal("SIGNAL_SIGKILL");
  static_cast<void>(made);
}

/// Runs the session to its end; faults become errors, as they would be lost beside other waits.
Task<void> keep(Session& session, Session::Spec spec, CommandStreams streams,
                std::optional<Result<int>>& result) {
  try {
    result.emplace(co_await session.run(std::move(spec), streams));
  } catch (const asio::multiple_exceptions&) {
    // Parallel waits, cancelled together.
  } catch (const boost::system::system_error& fault) {
    // Cancelled, because another wait has ended: that is no result.
    if (fault.code() == asio::error::operation_aborted) co_return;
    result.emplace(Error(ErrorCode::internal, std::string("a fault of hako: ") + fault.what()));
  } catch (const std::exception& fault) {
    result.emplace(Error(ErrorCode::internal, std::string("a fault of hako: ") + fault.what()));
  }
}

Task<void> until_stopped(Interrupts& interrupts, WhenStopped when) {
  // A command that is being ended still has its output to say; only haste cuts that short.
  if (when == WhenStopped::leave) {
    co_await interrupts.wait();
  } else {
    co_await interrupts.wait_again();
    co_await sleep_for(std::chrono::seconds(1));
  }
}

Task<void> until_unread(SharedDescriptor& output, WhenStopped when) {
  if (when == WhenStopped::leave) {
    auto closed = co_await output.closed_by_reader();
    if (closed) co_return;
  }
  co_await sleep_for(std::chrono::hours(24 * 365));
}

/// Runs one command with our standard streams. Returns the status to exit with.
Task<int> attend(BoxAccess box, CommandOptions options, Interrupts& interrupts,
                 WhenStopped when_stopped) {
  using namespace asio::experimental::awaitable_operators;
  auto executor = co_await asio::this_coro::executor;
  SharedDescriptor in(STDIN_FILENO), out(STDOUT_FILENO), err(STDERR_FILENO), watched(STDOUT_FILENO);
  CommandStreams streams;
  streams.out = &out;
  streams.err = &err;
  if (options.interactive) streams.in = &in;

  Session session(executor, box, options.user);
  TaskGroup beside(executor);
  std::optional<RawMode> raw;
  if (options.terminal) {
    if (options.interactive && is_terminal(STDIN_FILENO)) raw.emplace();
    beside.spawn("terminal size", follow_size(session));
  }
  if (when_stopped == WhenStopped::end)
    beside.spawn("interrupt", end_when_stopped(session, interrupts));

  std::optional<Result<int>> result;
  auto work = keep(session, make_spec(options), streams, result);
  auto stopped = until_stopped(interrupts, when_stopped);
  auto unread = until_unread(watched, when_stopped);
  co_await (std::move(work) || std::move(stopped) || std::move(unread));

  bool pipe_broken = !result;
  if (result && !*result) pipe_broken = result->error().os_error() == EPIPE;
  if (pipe_broken && when_stopped == WhenStopped::end && !interrupts.received()) {
    auto asked = co_await session.send_signal("SIGNAL_SIGTERM");
    static_cast<void>(asked);
  }
  raw.reset();
  co_await beside.stop();

  if (interrupts.received()) co_return 128 + *interrupts.received();
  if (pipe_broken) co_return kBrokenPipe;
  if (!*result) co_return fail(result->error(), kOwnFailure);
  if (!session.problem().empty())
    print_note("cannot run '" + printable_field(options.argv.front()) +
               "' in the box: " + session.problem());
  co_return result->value();
}

Task<int> end_box(Api& api, const std::string& id, Interrupts& interrupts, int status) {
  using namespace asio::experimental::awaitable_operators;
  auto destroyed = destroy(api, id);
  auto impatient = interrupts.wait_again();
  auto first = co_await (std::move(destroyed) || std::move(impatient));
  if (first.index() == 1) {
    print_note("box " + id + " may still run: `hako kill " + id + "` ends it");
  } else if (auto& gone = std::get<0>(first); !gone) {
    print_note("box " + id + " could not be destroyed: " + gone.error().message());
    if (status == 0) co_return kOwnFailure;
  }
  co_return status;
}

/// Clones the repository and closes behind it. The status to exit with, if that is what comes of it.
Task<std::optional<int>> clone_first(Api& api, BoxAccess box, const RunOptions& options,
                                     Repository repository, Interrupts& interrupts) {
  GitLogin login;
  if (!options.repo_secret.empty()) {
    auto found = co_await find_git_login(api, box.id, options.repo_secret);
    if (!found) co_return fail(found.error(), kOwnFailure);
    login = std::move(found.value());
  }
  CommandOptions cloning = clone_command(options.command, repository, login.user, login.placeholder);
  int status = co_await attend(box, std::move(cloning), interrupts, WhenStopped::leave);
  if (interrupts.received()) co_return status;
  if (status != 0) {
    print_note("the repository could not be cloned");
    co_return kOwnFailure;
  }
  auto closed = co_await close_behind_clone(api, box.id, options.box.confinement, repository);
  if (!closed) co_return fail(closed.error(), kOwnFailure);
  co_return std::nullopt;
}

Task<int> run_command(const GlobalOptions& global, const RunOptions& options) {
  using namespace asio::experimental::awaitable_operators;
  auto config = load_config(global);
  if (!config) co_return fail(config.error(), kOwnFailure);
  auto access = find_api(global);
  if (!access) co_return fail(access.error(), kOwnFailure);
  BoxOptions wanted = options.box;
  CommandOptions command = options.command;
  Repository repository;
  if (!options.repo.empty()) {
    auto parsed = parse_repository(options.repo);
    if (!parsed) co_return fail(parsed.error(), kOwnFailure);
    repository = std::move(parsed.value());
    wanted = box_for_clone(std::move(wanted), repository, options.repo_secret);
    if (command.cwd.empty()) command.cwd = "~/" + repository.folder;
  }

  TaskGroup tasks(co_await asio::this_coro::executor);
  Interrupts interrupts(co_await asio::this_coro::executor);
  interrupts.start(tasks);
  Api api(access.value());
  // A signal from now on is noticed, but a create under way is waited for: only its answer
  // names the box that has to be destroyed.
  auto creating = create(api, wanted, config.value().default_template);
  auto finding = find_data_endpoint(access.value());
  auto [answer, data] = co_await (std::move(creating) && std::move(finding));
  int status = kOwnFailure;
  if (!answer) {
    status = fail(answer.error(), kOwnFailure);
  } else if (auto box = box_from_answer(answer.value(), std::move(data)); !box) {
    status = fail(box.error(), kOwnFailure);
  } else {
    const std::string id = box.value().id;
    if (!options.box.ttl) tasks.spawn("lease", renew_lease(access.value(), id));
    std::optional<int> ended;
    if (interrupts.received()) {
      ended = 128 + *interrupts.received();
    } else if (!options.repo.empty()) {
      ended = co_await clone_first(api, box.value(), options, repository, interrupts);
    }
    if (ended) {
      status = *ended;
    } else {
      status = co_await attend(box.value(), command, interrupts, WhenStopped::leave);
    }
    if (options.keep) {
      auto left = options.box.ttl.value_or(kLease);
      print_note("box " + id + " is kept for " + format_duration(left) + ": `hako kill " + id +
                 "` ends it");
    } else {
      status = co_await end_box(api, id, interrupts, status);
    }
  }
  co_await tasks.stop();
  co_return status;
}

Task<int> exec_command(const GlobalOptions& global, const ExecOptions& options) {
  auto access = find_api(global);
  if (!access) co_return fail(access.error(), kOwnFailure);
  Api api(access.value());
  auto box = co_await find_box(api, options.id);
  if (!box) co_return fail(box.error(), kOwnFailure);
  TaskGroup tasks(co_await asio::this_coro::executor);
  Interrupts interrupts(co_await asio::this_coro::executor);
  interrupts.start(tasks);
  int status = co_await attend(box.value(), options.command, interrupts, WhenStopped::end);
  co_await tasks.stop();
  co_return status;
}

}  // namespace

int run_in_new_box(const GlobalOptions& global, const RunOptions& options) {
  // A closed standard output is an outcome to handle: the box has to be destroyed.
  ::signal(SIGPIPE, SIG_IGN);
  return run_to_end([&] { return run_command(global, options); }, kOwnFailure);
}

int exec_in_box(const GlobalOptions& global, const ExecOptions& options) {
  ::signal(SIGPIPE, SIG_IGN);
  return run_to_end([&] { return exec_command(global, options); }, kOwnFailure);
}

}  // namespace hako::cli
