// The command line against a stand-in API in front of a real in-guest daemon, which runs on this
// machine: real processes, terminals and files, without a virtual machine.
#include <pty.h>
#include <sys/ioctl.h>

#include "support/cli_lab.h"

namespace hako::test {
namespace {

TEST_F(CommandLine, RunPassesOutputAndStatusOn) {
  auto done = run("run -e A=b -- sh -c 'echo out $A; echo err >&2; exit 7'");
  EXPECT_EQ(done.status, 7);
  EXPECT_EQ(done.out, "out b\n");
  EXPECT_EQ(done.err, "err\n");
  EXPECT_EQ(api_.created(), 1u);
  EXPECT_EQ(api_.running(), 0u);
}

TEST_F(CommandLine, ArgumentsAreNotAShells) {
  auto done = run("run -- printf '%s|' '$HOME' '*' ';' 'a b' ''");
  EXPECT_EQ(done.status, 0) << done.err;
  EXPECT_EQ(done.out, "$HOME|*|;|a b||");
}

TEST_F(CommandLine, StatusesAreThoseOfAShell) {
  EXPECT_EQ(run("run -- /no/such/program").status, 127);
  EXPECT_EQ(run("run -- no-such-program").status, 127);
  EXPECT_EQ(run("run -- /etc").status, 126);
  EXPECT_EQ(run("run -- sh -c 'kill -9 $$'").status, 137);
  EXPECT_EQ(run("run -- sh -c 'kill -TERM $$'").status, 143);
  EXPECT_EQ(run("run --cwd /nowhere -- true").status, 125);
  EXPECT_EQ(run("run").status, 125);
  EXPECT_EQ(run("run --ttl nonsense -- true").status, 125);
  EXPECT_EQ(api_.running(), 0u);
}

TEST_F(CommandLine, ATimeoutKillsTheCommand) {
  auto done = run("run --timeout 1s -- sleep 100");
  EXPECT_NE(done.status, 0);
  EXPECT_EQ(api_.running(), 0u);
}

TEST_F(CommandLine, WithoutInputTheCommandReadsNothing) {
  auto done = shell("echo unwanted | " + hako() + " run -- cat");
  EXPECT_EQ(done.status, 0);
  EXPECT_EQ(done.out, "");
}

TEST_F(CommandLine, AHundredMegabytesGoThroughWhole) {
  auto done = shell("head -c 100000000 /dev/urandom > big; cat big | " + hako() +
                    " run -i -- cat | cmp - big");
  EXPECT_EQ(done.status, 0) << done.err;
  auto file = shell(hako() + " run -i -- cat < big > back; cmp back big");
  EXPECT_EQ(file.status, 0) << file.err;
}

TEST_F(CommandLine, InputThatNobodyReadsDoesNotHoldUs) {
  auto done = shell("yes | " + hako() + " run -i -- head -n 1");
  EXPECT_EQ(done.status, 0) << done.err;
  EXPECT_EQ(done.out, "y\n");
  EXPECT_EQ(api_.running(), 0u);
}

TEST_F(CommandLine, SignalsDestroyTheBox) {
  for (int signal : {SIGINT, SIGTERM, SIGHUP}) {
    Fd out = open_file(path_ + "/said", O_WRONLY | O_CREAT | O_TRUNC, 0600).value();
    pid_t pid = start({"run", "--", "sh", "-c", "echo started; sleep 100"}, out.get());
    ASSERT_TRUE(eventually([&] { return get("said") == "started\n"; }));
    EXPECT_EQ(api_.running(), 1u);
    ::kill(pid, signal);
    EXPECT_EQ(wait(pid), 128 + signal);
    EXPECT_EQ(api_.running(), 0u);
  }
}

TEST_F(CommandLine, ASignalDuringCreateLeavesNoBox) {
  api_.create_delay_ms = 500;
  pid_t pid = start({"run", "--", "sleep", "100"});
  ASSERT_TRUE(eventually([&] { return api_.asked() == 1; }));
  ::kill(pid, SIGINT);
  EXPECT_EQ(wait(pid), 130);
  EXPECT_EQ(api_.created(), 1u);
  EXPECT_EQ(api_.running(), 0u);
}

TEST_F(CommandLine, AClosedOutputDestroysTheBox) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  // Silent: the command never writes, so only watching the pipe can tell.
  pid_t pid = start({"run", "--", "sleep", "100"}, ends[1]);
  ::close(ends[1]);
  ASSERT_TRUE(eventually([&] { return api_.running() == 1; }));
  ::close(ends[0]);
  EXPECT_EQ(wait(pid), 128 + SIGPIPE);
  EXPECT_EQ(api_.running(), 0u);

  auto noisy = shell(hako() + " run -- yes | head -n 2");
  EXPECT_EQ(noisy.out, "y\ny\n");
  EXPECT_EQ(api_.running(), 0u);
}

TEST_F(CommandLine, KeepKeeps) {
  auto done = run("run --keep -- true");
  EXPECT_EQ(done.status, 0);
  EXPECT_NE(done.err.find("is kept"), std::string::npos);
  EXPECT_EQ(api_.running(), 1u);
  EXPECT_EQ(run("kill --all").status, 0);
  EXPECT_EQ(api_.running(), 0u);
}

TEST_F(CommandLine, AnUnknownBoxIsToldAndIsOurFailure) {
  auto done = run("exec itest99 -- true");
  EXPECT_EQ(done.status, 125);
  EXPECT_NE(done.err.find("there is no box 'itest99'"), std::string::npos) << done.err;
}

TEST_F(CommandLine, ExecLeavesTheBoxAndEndsTheCommand) {
  std::string id = api_.add_box();
  auto done = run("exec " + id + " -e X=1 -- sh -c 'echo $X; exit 4'");
  EXPECT_EQ(done.status, 4) << done.err;
  EXPECT_EQ(done.out, "1\n");
  EXPECT_EQ(api_.running(), 1u);

  Fd out = open_file(path_ + "/said", O_WRONLY | O_CREAT | O_TRUNC, 0600).value();
  pid_t pid = start({"exec", id, "--", "sh", "-c",
                     "trap 'echo ending; exit 0' TERM; echo started; while :; do sleep 0.05; done"},
                    out.get());
  ASSERT_TRUE(eventually([&] { return get("said") == "started\n"; }));
  ::kill(pid, SIGINT);
  EXPECT_EQ(wait(pid), 130);
  EXPECT_EQ(get("said"), "started\nending\n");
  EXPECT_EQ(api_.running(), 1u);
}

TEST_F(CommandLine, ATerminalHasItsSizeAndPassesKeys) {
  std::string id = api_.add_box();
  winsize size{.ws_row = 33, .ws_col = 101, .ws_xpixel = 0, .ws_ypixel = 0};
  int master = -1;
  pid_t pid = ::forkpty(&master, nullptr, nullptr, &size);
  if (pid == 0) {
    ::setenv("HAKO_CONFIG", (path_ + "/hako.toml").c_str(), 1);
    ::setenv("HAKO_API_URL", api_.url().c_str(), 1);
    ::setenv("HAKO_API_KEY", kKey, 1);
    ::execl(HAKO_PROGRAM, "hako", "exec", id.c_str(), "-it", "--", "sh", "-c",
            "tty -s && stty size; read line; echo got $line; stty size; exit 9", nullptr);
    ::_exit(99);
  }
  std::string seen;
  auto read_until = [&](std::string_view words) {
    char buffer[4096];
    while (seen.find(words) == std::string::npos) {
      pollfd waited{master, POLLIN, 0};
      if (::poll(&waited, 1, 20000) != 1) return false;
      ssize_t n = ::read(master, buffer, sizeof buffer);
      if (n <= 0) return seen.find(words) != std::string::npos;
      seen.append(buffer, static_cast<size_t>(n));
    }
    return true;
  };
  ASSERT_TRUE(read_until("33 101")) << seen;
  size.ws_row = 44;
  ASSERT_EQ(::ioctl(master, TIOCSWINSZ, &size), 0);
  // The box learns of the size before the key, as both go in order of arrival only by chance:
  // ask until it has.
  std::this_thread::sleep_for(300ms);
  ASSERT_EQ(::write(master, "hello\r", 6), 6);
  EXPECT_TRUE(read_until("got hello")) << seen;
  EXPECT_TRUE(read_until("44 101")) << seen;
  char rest[4096];
  while (::read(master, rest, sizeof rest) > 0) {
  }
  EXPECT_EQ(wait(pid), 9);
  ::close(master);
}

TEST_F(CommandLine, BoxesArePausedAndResumed) {
  std::string id = api_.add_box();
  auto paused = run("pause --files-only " + id);
  EXPECT_EQ(paused.status, 0) << paused.err;
  EXPECT_EQ(paused.out, id + "\n");
  EXPECT_EQ(api_.last_body(), R"({"memory":false})");
  auto listed = run("ps");
  EXPECT_NE(listed.out.find("paused"), std::string::npos) << listed.out;
  EXPECT_NE(run("info " + id).out.find("ago"), std::string::npos);
  auto again = run("pause " + id + " inone ../x");
  EXPECT_EQ(again.status, 1);
  EXPECT_NE(again.err.find("is paused"), std::string::npos) << again.err;
  EXPECT_NE(again.err.find("there is no box 'inone'"), std::string::npos) << again.err;
  EXPECT_NE(again.err.find("no id of a box"), std::string::npos) << again.err;
  auto resumed = run("resume " + id + " --ttl 10m");
  EXPECT_EQ(resumed.out, id + "\n");
  EXPECT_EQ(api_.last_body(), R"({"timeout":600})");
  EXPECT_EQ(run("ps").out.find("paused"), std::string::npos);
}

TEST_F(CommandLine, BoxesAreForkedKeptAndTakenBack) {
  std::string id = api_.add_box();
  auto forked = run("fork " + id + " -n 2 --ttl 1m");
  // What could be made is told, and what could not.
  EXPECT_EQ(forked.status, 1);
  EXPECT_EQ(forked.out, "itest2\n");
  EXPECT_NE(forked.err.find("quota"), std::string::npos) << forked.err;
  EXPECT_EQ(api_.last_body(), R"({"count":2,"timeout":60})");
  EXPECT_EQ(run("fork " + id + " -n 0").status, 2);
  EXPECT_EQ(run("fork " + id + " -n 101").status, 2);
  auto kept = run("snapshot create " + id + " first");
  EXPECT_EQ(kept.out, "s-one\n") << kept.err;
  EXPECT_EQ(api_.last_body(), R"({"name":"first"})");
  auto listed = run("snapshot ls");
  for (const char* part : {"s-one", "first:default", "itest1", "3 MiB"}) {
    EXPECT_NE(listed.out.find(part), std::string::npos) << listed.out;
  }
  EXPECT_EQ(run("rollback " + id + " s-one").out, id + "\n");
  auto none = run("rollback " + id + " none");
  EXPECT_EQ(none.status, 1);
  EXPECT_NE(none.err.find("snapshot 'none' not found"), std::string::npos) << none.err;
  EXPECT_EQ(run("snapshot rm s-one").out, "s-one\n");
  auto gone = run("snapshot rm s-one");
  EXPECT_EQ(gone.status, 1);
  EXPECT_NE(gone.err.find("there is no snapshot"), std::string::npos) << gone.err;
}

TEST_F(CommandLine, WhatBecomesOfABoxAtItsEndIsSaidAtTheCreate) {
  EXPECT_EQ(run("create --on-timeout pause --auto-resume").status, 0);
  EXPECT_NE(api_.last_body().find(R"("autoPause":true,"autoResume":{"enabled":true})"),
            std::string::npos)
      << api_.last_body();
  EXPECT_EQ(run("create --on-timeout kill").status, 0);
  EXPECT_EQ(api_.last_body().find("autoPause"), std::string::npos);
  EXPECT_EQ(run("create --on-timeout sleep").status, 2);
}

TEST_F(CommandLine, FilesGoInAndOutUnchanged) {
  std::string id = api_.add_box();
  std::string box = path_ + "/box";
  fs::create_directories(box);
  auto in = shell("head -c 200000000 /dev/urandom > big && " + hako() + " cp big " + id + ":" +
                  box + "/sub/copy && cmp big box/sub/copy");
  EXPECT_EQ(in.status, 0) << in.err;
  auto out = shell(hako() + " cp " + id + ":" + box + "/sub/copy back && cmp big back");
  EXPECT_EQ(out.status, 0) << out.err;
  auto mode = shell("printf '#!/bin/sh\\n' > tool; chmod 755 tool; " + hako() + " cp tool " + id +
                    ":" + box + " && test -x box/tool && " + hako() + " cp " + id + ":" + box +
                    "/tool tool2 && test -x tool2 && cmp tool tool2");
  EXPECT_EQ(mode.status, 0) << mode.err;
  auto missing = run("cp " + id + ":" + box + "/nothing x");
  EXPECT_EQ(missing.status, 1);
  EXPECT_NE(missing.err.find("there is no"), std::string::npos) << missing.err;
  EXPECT_FALSE(fs::exists(path_ + "/x"));
}

TEST_F(CommandLine, FoldersGoInAndOutUnchanged) {
  std::string id = api_.add_box();
  auto done = shell(
      "mkdir -p tree/a/b box && echo one > tree/a/x && echo two > tree/a/b/y && "
      "ln -s a/x tree/link && chmod 700 tree/a/b && head -c 3000000 /dev/urandom > tree/z && " +
      hako() + " cp tree " + id + ":" + path_ +
      "/box && diff -r --no-dereference tree box/tree && " + hako() + " cp " + id + ":" + path_ +
      "/box/tree out-tree && "
      "diff -r --no-dereference tree out-tree && test $(stat -c %a out-tree/a/b) = 700");
  EXPECT_EQ(done.status, 0) << done.err << done.out;
  // Links that lead out of the folder stay in the box.
  auto hostile = shell("ln -s /etc/passwd box/tree/evil && " + hako() + " cp " + id + ":" + path_ +
                       "/box/tree again");
  EXPECT_EQ(hostile.status, 0) << hostile.err;
  EXPECT_NE(hostile.err.find("evil"), std::string::npos) << hostile.err;
  EXPECT_FALSE(fs::exists(fs::symlink_status(path_ + "/again/evil")));
}

TEST_F(CommandLine, ListsAreForPeopleAndForPrograms) {
  std::string id = api_.add_box();
  auto table = run("ps");
  EXPECT_EQ(table.status, 0);
  EXPECT_NE(table.out.find(id + "  base      running"), std::string::npos) << table.out;
  auto list = run("ps --json");
  EXPECT_EQ(json::parse(list.out).at(0).at("sandboxID").as_string(), id);
  EXPECT_EQ(json::parse(run("info " + id + " --json").out).at("sandboxID").as_string(), id);
  auto made = run("create");
  EXPECT_EQ(made.status, 0);
  EXPECT_EQ(run("kill " + made.out.substr(0, made.out.size() - 1)).status, 0);
  EXPECT_EQ(run("kill nosuchbox").status, 1);
}

TEST_F(CommandLine, ErrorsSayWhatToDo) {
  auto nobody = shell(hako() + " --api-url http://127.0.0.1:1 ps");
  EXPECT_EQ(nobody.status, 1);
  EXPECT_NE(nobody.err.find("no daemon answers at http://127.0.0.1:1"), std::string::npos);
  EXPECT_NE(nobody.err.find("`hako up`"), std::string::npos);
  auto key = shell("env HAKO_CONFIG=" + path_ + "/hako.toml HAKO_API_URL=" + api_.url() +
                   " HAKO_API_KEY=wrong " HAKO_PROGRAM " ps");
  EXPECT_EQ(key.status, 1);
  EXPECT_NE(key.err.find("refuses the key"), std::string::npos) << key.err;
  auto none = shell("env -u HAKO_API_KEY -u E2B_API_KEY HAKO_STATE_DIR=" + path_ +
                    "/none HAKO_CONFIG=" + path_ + "/hako.toml " HAKO_PROGRAM " ps");
  EXPECT_EQ(none.status, 1);
  EXPECT_NE(none.err.find("no API key"), std::string::npos) << none.err;
  EXPECT_EQ(run("nonsense").status, 2);
  EXPECT_EQ(run("cp a b").status, 1);
  EXPECT_EQ(run("kill").status, 2);
  EXPECT_EQ(run("--version").out.substr(0, 5), "hako ");
}

}  // namespace
}  // namespace hako::test
