// What the api and the gate give up for good: each test in a child process. Needs root.
#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <thread>

#include "base/async/task_group.h"
#include "jail/jail.h"
#include "rpc/peer.h"
#include "support/in_child.h"

namespace hako::jail {
namespace {

using namespace std::chrono_literals;
using testing_support::in_child;

constexpr uid_t kUid = 947002;

bool can_exec() {
  return in_child([] {
           ::execl("/bin/true", "true", nullptr);
           return 1;
         }) == 0;
}

class DropTest : public testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  }
};

TEST_F(DropTest, RootCannotBeHadBack) {
  EXPECT_EQ(in_child([] {
              if (!drop_privileges(kUid, kUid)) return 1;
              uid_t r, e, s;
              if (::getresuid(&r, &e, &s) < 0 || r != kUid || e != kUid || s != kUid) return 2;
              if (::getgroups(0, nullptr) != 0 || ::getgid() != kUid) return 3;
              if (::setuid(0) == 0 || ::setresgid(0, 0, 0) == 0) return 4;
              if (::open("/etc/shadow", O_RDONLY) >= 0) return 5;
              if (::prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1) return 6;
              if (::prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) != 0) return 7;
              auto status = read_file("/proc/self/status");
              if (!status || status.value().find("CapBnd:\t0000000000000000") == std::string::npos)
                return 8;
              return 0;
            }),
            0);
}

TEST_F(DropTest, IsRefusedWhenItWouldNotCoverEverything) {
  EXPECT_EQ(in_child([] {
              std::thread other([] { ::pause(); });
              auto dropped = drop_privileges(kUid, kUid);
              ::_exit(!dropped && dropped.error().code() == ErrorCode::failed_precondition ? 0 : 1);
              return 2;
            }),
            0);
  EXPECT_EQ(drop_privileges(0, 0).error().code(), ErrorCode::invalid_argument);
  EXPECT_EQ(in_child([] {
              if (!drop_privileges(kUid, kUid)) return 1;
              if (!drop_privileges(kUid, kUid)) return 2;  // what has been given up already is fine
              return drop_privileges(kUid + 1, kUid) ? 3 : 0;
            }),
            0);
}

TEST(ConfineTest, FilesAndProgramsAreOutOfReach) {
  // Without the filter both succeed, so the filter it is that refuses.
  EXPECT_TRUE(can_exec());
  EXPECT_TRUE(open_file("/etc/hostname", O_RDONLY) || open_file("/etc/passwd", O_RDONLY));
  EXPECT_EQ(in_child([] {
              if (!confine_gate()) return 1;
              if (::open("/etc/passwd", O_RDONLY) >= 0 || errno != EPERM) return 2;
              if (::open("/tmp/x", O_WRONLY | O_CREAT, 0600) >= 0 || errno != EPERM) return 3;
              ::execl("/bin/true", "true", nullptr);
              if (errno != EPERM) return 4;
              if (::fork() >= 0 || errno != EPERM) return 5;
              if (::kill(::getppid(), 0) == 0 || errno != EPERM) return 6;
              if (::unlink("/tmp/x") == 0 || errno != EPERM) return 7;
              return 0;
            }),
            0);
}

TEST(ConfineTest, OnlyTheSocketsOfItsWork) {
  EXPECT_EQ(in_child([] {
              if (!confine_gate()) return 1;
              for (int family : {AF_UNIX, AF_INET, AF_INET6})
                if (::socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0) < 0) return 2;
              int udp = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
              if (udp < 0) return 3;
              for (int family : {AF_NETLINK, AF_PACKET, AF_VSOCK})
                if (::socket(family, SOCK_DGRAM, 0) >= 0 || errno != EPERM) return 4;
              if (::socket(AF_INET, SOCK_RAW, IPPROTO_ICMP) >= 0 || errno != EPERM) return 5;
              sockaddr_in any{};
              any.sin_family = AF_INET;
              if (::bind(udp, reinterpret_cast<sockaddr*>(&any), sizeof any) == 0) return 6;
              return errno == EPERM ? 0 : 7;
            }),
            0);
}

TEST(ConfineTest, BytesPassThroughPipesInsideTheKernel) {
  EXPECT_EQ(in_child([] {
              if (!confine_gate()) return 1;
              int pipe[2], ends[2];
              if (::pipe2(pipe, O_CLOEXEC | O_NONBLOCK) != 0) return 2;
              if (::fcntl(pipe[1], F_SETPIPE_SZ, 256 << 10) < 0) return 3;
              if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return 4;
              if (::write(ends[0], "hello", 5) != 5) return 5;
              if (::splice(ends[1], nullptr, pipe[1], nullptr, 5, SPLICE_F_NONBLOCK) != 5) return 6;
              if (::splice(pipe[0], nullptr, ends[1], nullptr, 5, SPLICE_F_NONBLOCK) != 5) return 7;
              char text[5];
              return ::read(ends[0], text, 5) == 5 ? 0 : 8;
            }),
            0);
}

TEST(ConfineTest, NothingBecomesExecutable) {
  auto map = [] {
    return ::mmap(nullptr, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  };
  EXPECT_NE(map(), MAP_FAILED);
  EXPECT_EQ(in_child([&] {
              if (!confine_gate()) return 1;
              if (map() != MAP_FAILED || errno != EPERM) return 2;
              void* data =
                  ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
              if (data == MAP_FAILED) return 3;
              return ::mprotect(data, 4096, PROT_READ | PROT_EXEC) == 0 ? 4 : 0;
            }),
            0);
}

TEST(ConfineTest, WhatOnlyAnExploitWantsEndsTheProcess) {
  EXPECT_EQ(in_child([] {
              if (!confine_gate()) return 1;
              ::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
              return 2;
            }),
            -SIGSYS);
  EXPECT_EQ(in_child([] {
              if (!confine_gate()) return 1;
              ::unshare(CLONE_NEWUSER);
              return 2;
            }),
            -SIGSYS);
  // In all its threads, also those that were there before.
  EXPECT_EQ(in_child([] {
              std::atomic<bool> confined = false;
              int result = -1;
              std::thread other([&] {
                while (!confined) std::this_thread::yield();
                result = ::open("/etc/passwd", O_RDONLY);
              });
              bool applied = confine_gate().has_value();
              confined = true;
              other.join();
              return applied && result < 0 ? 0 : 1;
            }),
            0);
}

Task<Result<rpc::Payload>> echo(rpc::Payload payload) {
  co_return std::move(payload);
}

/// What a gate does all day: accept, connect, pass descriptors, wait, use a thread pool.
Task<void> work_of_a_gate(asio::ip::tcp::acceptor& acceptor, bool& done) {
  auto executor = co_await asio::this_coro::executor;
  asio::ip::tcp::socket client(executor);
  co_await client.async_connect(acceptor.local_endpoint(), asio::use_awaitable);
  auto server = co_await acceptor.async_accept(asio::use_awaitable);
  client.set_option(asio::ip::tcp::no_delay(true));
  co_await asio::async_write(client, asio::buffer("hello", 5), asio::use_awaitable);
  char text[5];
  co_await asio::async_read(server, asio::buffer(text), asio::use_awaitable);

  auto ends = socket_pair(SOCK_STREAM);
  if (!ends) co_return;
  rpc::Peer left(executor, std::move(ends.value().first));
  rpc::Peer right(executor, std::move(ends.value().second));
  right.on("echo", echo);
  TaskGroup tasks(executor);
  tasks.spawn("left", left.run());
  tasks.spawn("right", right.run());
  rpc::Payload payload;
  payload.fds.emplace_back(::dup(client.native_handle()));
  auto answer = co_await left.call("echo", std::move(payload), 5s);
  co_await sleep_for(1ms);
  co_await tasks.stop();

  asio::thread_pool pool(1);
  auto blocking = [] { return 42; };
  int result = co_await run_blocking(pool, blocking);
  done = answer && answer.value().fds.size() == 1 && result == 42;
}

TEST(ConfineTest, AnEventLoopOverSocketsGoesOnWorking) {
  EXPECT_EQ(in_child([] {
              asio::io_context io;
              asio::ip::tcp::acceptor acceptor(
                  io, asio::ip::tcp::endpoint(asio::ip::address_v4::loopback(), 0));
              if (!confine_gate()) return 1;
              bool done = false;
              asio::co_spawn(io, work_of_a_gate(acceptor, done), [](std::exception_ptr fault) {
                try {
                  if (fault) std::rethrow_exception(fault);
                } catch (const std::exception& error) {
                  std::fprintf(stderr, "%s\n", error.what());
                }
              });
              io.run_for(10s);
              return done ? 0 : 2;
            }),
            0);
  EXPECT_EQ(in_child([] {
              if (!confine_gate()) return 1;
              std::abort();
              return 2;
            }),
            -SIGABRT);
}

}  // namespace
}  // namespace hako::jail
