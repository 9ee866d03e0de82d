#include "base/process.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>

#include "base/start_signal.h"

namespace hako {
namespace {

using namespace std::chrono_literals;

ProcessSpec shell(std::string script) {
  return {"/bin/sh", {"sh", "-c", std::move(script)}, {"PATH=/usr/bin:/bin"}, {}};
}

Task<void> wait_into(Process& process, std::optional<ExitStatus>& status) {
  status = co_await process.wait();
}

class ProcessTest : public testing::Test {
 protected:
  ExitStatus wait(Process& process) {
    std::optional<ExitStatus> status;
    asio::co_spawn(io, wait_into(process, status), [](std::exception_ptr) {});
    io.restart();
    io.run_for(10s);
    EXPECT_TRUE(status);
    return status.value_or(ExitStatus{});
  }
  asio::io_context io;
};

std::string read_to_end(Fd& fd) {
  std::string text;
  char buffer[4096];
  for (ssize_t n; (n = ::read(fd.get(), buffer, sizeof buffer)) > 0;)
    text.append(buffer, static_cast<size_t>(n));
  return text;
}

TEST_F(ProcessTest, HasTheNameByWhichItIsFoundAgain) {
  auto process = spawn(io.get_executor(), shell("sleep 60"));
  ASSERT_TRUE(process);
  EXPECT_GT(process.value().start_time(), 0u);
  auto adopted = Process::adopt(io.get_executor(), process.value().pid(),
                                process.value().start_time());
  ASSERT_TRUE(adopted);
  EXPECT_EQ(adopted.value().start_time(), process.value().start_time());
}

/// What becomes of a process whose descriptor 3 is `signal`: 0 if it goes on, and has nothing left of
/// what it waited for.
int outcome_of_waiting(int signal) {
  pid_t pid = ::fork();
  if (pid == 0) {
    ::dup2(signal, 3);
    ::close_range(4, ~0u, 0);
    ::setenv("HAKO_START_SIGNAL", "1", 1);
    if (!wait_for_start_signal()) ::_exit(1);
    ::_exit(std::getenv("HAKO_START_SIGNAL") || ::fcntl(3, F_GETFD) >= 0 ? 2 : 0);
  }
  int status = -1;
  ::waitpid(pid, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST(StartSignal, OnlyThenAProcessGoesOn) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  Fd theirs(ends[0]), ours(ends[1]);
  ASSERT_EQ(::write(ours.get(), "", 1), 1);
  EXPECT_EQ(outcome_of_waiting(theirs.get()), 0);
  ours.reset();  // whoever should have given it has ended
  EXPECT_EQ(outcome_of_waiting(theirs.get()), 1);
  Fd other(::open("/dev/zero", O_RDONLY | O_CLOEXEC));
  EXPECT_EQ(outcome_of_waiting(other.get()), 1);
  EXPECT_TRUE(wait_for_start_signal()) << "nobody wants this process to wait";
}

TEST_F(ProcessTest, WaitsForItsStartSignal) {
  auto make = [&](std::optional<StartSignal>& signal) {
    ProcessSpec spec = shell("head -c 1 <&3 | wc -c | grep -q 1");
    auto added = StartSignal::add_to(spec);
    EXPECT_TRUE(added);
    signal.emplace(std::move(added.value()));
    EXPECT_EQ(spec.env.back(), "HAKO_START_SIGNAL=1");
    return spawn(io.get_executor(), spec);
  };
  std::optional<StartSignal> signal;
  auto given = make(signal);
  ASSERT_TRUE(given);
  signal->give();
  EXPECT_EQ(wait(given.value()).code, 0);
  auto dropped = make(signal);
  ASSERT_TRUE(dropped);
  EXPECT_FALSE(dropped.value().ended());
  signal.reset();
  EXPECT_EQ(wait(dropped.value()).code, 1);
}

TEST_F(ProcessTest, SaysHowItEnded) {
  auto exits = spawn(io.get_executor(), shell("exit 7"));
  ASSERT_TRUE(exits);
  auto status = wait(exits.value());
  EXPECT_EQ(status.code, 7);
  EXPECT_EQ(status.signal, 0);
  EXPECT_EQ(status.describe(), "exit status 7");
  EXPECT_TRUE(exits.value().ended());
  EXPECT_EQ(wait(exits.value()).code, 7) << "asking again is fine";

  auto killed = spawn(io.get_executor(), shell("kill -TERM $$; sleep 60"));
  ASSERT_TRUE(killed);
  status = wait(killed.value());
  EXPECT_EQ(status.code, -1);
  EXPECT_EQ(status.signal, SIGTERM);
}

Task<void> started_into(Process& process, std::optional<Result<void>>& started) {
  started = co_await process.started();
}

TEST_F(ProcessTest, NobodyWaitsForAChildThatIsLongAboutItsStart) {
  int gate[2];
  ASSERT_EQ(::pipe(gate), 0);
  Fd let_go(gate[1]), held(gate[0]);
  ChildSetup setup{[](void* context, const char** what) {
                     char byte;
                     *what = "wait to be let go";
                     return ::read(*static_cast<int*>(context), &byte, 1) == 1 ? 0 : ECANCELED;
                   },
                   &gate[0]};
  // Would wait for ever in spawn().
  auto begun = start_spawning(io.get_executor(), shell("exit 3"), setup);
  ASSERT_TRUE(begun) << begun.error().message();
  std::optional<Result<void>> started;
  asio::co_spawn(io, started_into(begun.value(), started), asio::detached);
  io.run_for(50ms);
  EXPECT_FALSE(started) << "its program cannot run yet";
  ASSERT_EQ(::write(let_go.get(), "x", 1), 1);
  io.run_for(10s);
  ASSERT_TRUE(started && *started);
  EXPECT_EQ(wait(begun.value()).code, 3);
}

TEST_F(ProcessTest, AStartThatFailsIsToldLater) {
  auto begun = start_spawning(io.get_executor(), {"/no/such/program", {"x"}, {}, {}});
  ASSERT_TRUE(begun);
  std::optional<Result<void>> started;
  asio::co_spawn(io, started_into(begun.value(), started), asio::detached);
  io.run_for(10s);
  ASSERT_TRUE(started);
  ASSERT_FALSE(*started);
  EXPECT_EQ(started->error().code(), ErrorCode::not_found);
  EXPECT_NE(wait(begun.value()).code, 0);
}

TEST_F(ProcessTest, FailuresNameTheStep) {
  auto missing = spawn(io.get_executor(), {"/no/such/program", {"x"}, {}, {}});
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code(), ErrorCode::not_found);
  EXPECT_NE(missing.error().message().find("/no/such/program"), std::string::npos);
  ChildSetup setup{[](void*, const char** what) {
                     *what = "a step of ours";
                     return EPERM;
                   },
                   nullptr};
  auto refused = spawn(io.get_executor(), shell("true"), setup);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), ErrorCode::permission_denied);
  EXPECT_NE(refused.error().message().find("a step of ours"), std::string::npos);
  EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1) << "a zombie is left";
}

TEST_F(ProcessTest, GetsExactlyTheDescriptorsItIsGiven) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  Fd out(ends[0]), in(ends[1]);
  Fd leaked(
      ::open("/dev/null", O_RDONLY));  // without close-on-exec, as a careless library makes it
  // The two change places, and one of ours stands where one of the child's belongs.
  Fd a(::open("/dev/zero", O_RDONLY | O_CLOEXEC)), b(::open("/dev/full", O_RDONLY | O_CLOEXEC));
  ProcessSpec spec = shell("ls -l /proc/self/fd | sed -n 's/.* \\([0-9]*\\) -> /\\1 /p'");
  spec.fds = {{in.get(), 1}, {a.get(), b.get()}, {b.get(), a.get()}};
  auto process = spawn(io.get_executor(), spec);
  ASSERT_TRUE(process);
  in.reset();
  std::istringstream lines(read_to_end(out));
  std::map<int, std::string> open;
  std::string line;
  while (std::getline(lines, line)) {
    size_t space = line.find(' ');
    open[std::stoi(line.substr(0, space))] = line.substr(space + 1);
  }
  EXPECT_EQ(open[0], "/dev/null");
  EXPECT_EQ(open[2], "/dev/null");
  EXPECT_EQ(open[b.get()], "/dev/zero");
  EXPECT_EQ(open[a.get()], "/dev/full");
  EXPECT_EQ(open.count(leaked.get()), 0u);
  // And the one with which ls reads the folder.
  EXPECT_EQ(open.size(), 6u);
  EXPECT_EQ(wait(process.value()).code, 0);
}

TEST_F(ProcessTest, StartsWithCleanSignals) {
  sigset_t blocked, before;
  ::sigemptyset(&blocked);
  ::sigaddset(&blocked, SIGUSR1);
  ::pthread_sigmask(SIG_BLOCK, &blocked, &before);
  auto old = ::signal(SIGPIPE, SIG_IGN);
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  Fd out(ends[0]), in(ends[1]);
  ProcessSpec spec = shell("grep -E 'Sig(Blk|Ign)' /proc/self/status");
  spec.fds = {{in.get(), 1}};
  auto process = spawn(io.get_executor(), spec);
  in.reset();
  ASSERT_TRUE(process);
  EXPECT_EQ(read_to_end(out), "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
  ::signal(SIGPIPE, old);
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  wait(process.value());
}

TEST_F(ProcessTest, TheOwnerEndsItUnlessReleased) {
  pid_t pid = -1;
  uint64_t start = 0;
  {
    auto process = spawn(io.get_executor(), shell("sleep 600"));
    ASSERT_TRUE(process);
    pid = process.value().pid();
    EXPECT_FALSE(process.value().ended());
    Process moved = std::move(process.value());
    EXPECT_FALSE(moved.ended());
  }
  EXPECT_EQ(::kill(pid, 0), -1) << "killed and reaped";
  {
    auto process = spawn(io.get_executor(), shell("sleep 600"));
    pid = process.value().pid();
    start = process.value().start_time();
    process.value().release();
  }
  EXPECT_EQ(::kill(pid, 0), 0);
  EXPECT_EQ(Process::adopt(io.get_executor(), pid, start + 1).error().code(), ErrorCode::not_found);
  EXPECT_EQ(::kill(pid, 0), 0) << "the wrong one must not be touched";
  {
    auto adopted = Process::adopt(io.get_executor(), pid, start);
    ASSERT_TRUE(adopted);
    adopted.value().send_signal(SIGKILL);
    auto status = wait(adopted.value());
    EXPECT_FALSE(status.known);
    EXPECT_EQ(status.describe(), "ended");
  }
  ::waitpid(pid, nullptr, 0);
  EXPECT_EQ(Process::adopt(io.get_executor(), pid, start).error().code(), ErrorCode::not_found);
}

}  // namespace
}  // namespace hako
