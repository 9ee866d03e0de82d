// A program without a network: what it still reaches, and what it would without the wall.
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <csignal>

#include "http/server.h"
#include "jail/jail.h"
#include "jail/secluded.h"
#include "support/in_child.h"
#include "support/run_value.h"
#include "support/user_namespaces.h"

namespace hako::jail {
namespace {

using namespace std::chrono_literals;
using testing_support::in_child;

constexpr uid_t kUid = 947003;

ProcessSpec shell(const std::string& script) {
  ProcessSpec spec;
  spec.path = "/bin/bash";
  spec.argv = {"bash", "-c", script};
  return spec;
}

std::string connect_to(const std::string& address, uint16_t port) {
  return "exec 3<>/dev/tcp/" + address + "/" + std::to_string(port);
}

int run(const ProcessSpec& spec, bool secluded, std::vector<InnerListener> listeners = {}) {
  asio::io_context loop;
  std::vector<Fd> held;
  auto start = [&]() -> Result<Process> {
    if (!secluded) return spawn(loop.get_executor(), spec);
    HAKO_TRY(auto child, launch_secluded(loop.get_executor(), spec, listeners));
    held = std::move(child.listeners);
    return std::move(child.process);
  };
  auto process = start();
  if (!process) {
    ADD_FAILURE() << process.error().message();
    return -1;
  }
  return test::run_value(loop, process.value().wait()).code;
}

class Secluded : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!test::user_namespaces_can_be_made())
      GTEST_SKIP() << "the kernel makes no user namespaces here, as in a chroot";
  }
};

TEST_F(Secluded, TheHostsLoopbackIsNotThere) {
  auto listener = http::listen_tcp("127.0.0.1", 0);
  ASSERT_TRUE(listener);
  uint16_t port = http::local_port(listener.value());
  EXPECT_EQ(run(shell(connect_to("127.0.0.1", port)), false), 0) << "without the wall";
  EXPECT_NE(run(shell(connect_to("127.0.0.1", port)), true), 0);
  EXPECT_EQ(run(shell("[[ $(grep -c : /proc/net/dev) == 1 ]]"), true), 0) << "a device beside lo";
  EXPECT_EQ(run(shell("[[ $(tail -n +2 /proc/net/route) == '' ]]"), true), 0) << "a route";
}

TEST_F(Secluded, WhatListensThereIsTheCallers) {
  asio::io_context loop;
  std::string script = connect_to("127.0.0.1", 5000) + "; read -r line <&3; [[ $line == hello ]]";
  auto child = launch_secluded(loop.get_executor(), shell(script),
                               {{"127.0.0.1", 1080}, {"127.0.0.1", 5000}});
  ASSERT_TRUE(child) << child.error().message();
  ASSERT_EQ(child.value().listeners.size(), 2u);
  EXPECT_EQ(http::local_port(child.value().listeners[1]), 5000);
  pollfd ready{child.value().listeners[1].get(), POLLIN, 0};
  ASSERT_EQ(::poll(&ready, 1, 20'000), 1);
  Fd connection(::accept4(child.value().listeners[1].get(), nullptr, nullptr, SOCK_CLOEXEC));
  ASSERT_TRUE(connection);
  ASSERT_TRUE(write_all(connection.get(), "hello\n"));
  EXPECT_EQ(test::run_value(loop, child.value().process.wait()).code, 0);
}

TEST_F(Secluded, HasNoRightsInItsNamespaceEither) {
  EXPECT_EQ(run(shell("grep -q 'CapPrm:.0000000000000000' /proc/self/status && "
                      "grep -q 'NoNewPrivs:.1' /proc/self/status"),
                true),
            0);
}

TEST_F(Secluded, NeedsNoPrivilege) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  EXPECT_EQ(in_child([] {
              if (!drop_privileges(kUid, kUid)) return 1;
              return run(shell(": 3"), true) == 0 ? 0 : 2;
            }),
            0);
}

TEST_F(Secluded, EndsWithItsStarter) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  pid_t starter = ::fork();
  if (starter == 0) {
    asio::io_context loop;
    auto child = launch_secluded(loop.get_executor(), shell("sleep 60"), {});
    pid_t pid = child ? child.value().process.pid() : -1;
    (void)!::write(ends[1], &pid, sizeof pid);
    ::pause();
    ::_exit(0);
  }
  pid_t pid = -1;
  ASSERT_EQ(::read(ends[0], &pid, sizeof pid), ssize_t(sizeof pid));
  ASSERT_GT(pid, 0);
  EXPECT_TRUE(process_start_time(pid));
  ::kill(starter, SIGKILL);
  ::waitpid(starter, nullptr, 0);
  bool gone = false;
  for (int i = 0; i < 200 && !gone; ++i) {
    gone = !process_start_time(pid);
    if (!gone) ::usleep(50'000);
  }
  EXPECT_TRUE(gone);
  ::close(ends[0]);
  ::close(ends[1]);
}

TEST(SecludedListeners, WrongOnesAreErrors) {
  asio::io_context loop;
  EXPECT_FALSE(launch_secluded(loop.get_executor(), shell(":"), {{"localhost", 1}}));
  EXPECT_FALSE(launch_secluded(loop.get_executor(), shell(":"), {{"10.0.0.1", 1}}));
  EXPECT_FALSE(launch_secluded(loop.get_executor(), shell(":"),
                               std::vector<InnerListener>(65, {"127.0.0.1", 1})));
}

}  // namespace
}  // namespace hako::jail
