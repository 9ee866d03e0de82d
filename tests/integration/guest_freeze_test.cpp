// Programs of the real daemon, frozen and let go on by whoever is the host to it.
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include "base/random.h"
#include "integration/guest_daemon.h"
#include "wire/connect.h"

namespace hako::guest {
namespace {

using namespace std::chrono_literals;
namespace fs = std::filesystem;

std::string text_of(const fs::path& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

void put(const fs::path& path, const std::string& text) {
  std::ofstream file(path);
  file << text << std::flush;
  ASSERT_TRUE(file) << path << " <- " << text;
}

/// Where control groups of version 2 are mounted; empty if they are not.
std::string cgroup2() {
  std::ifstream mounts("/proc/self/mountinfo");
  for (std::string line; std::getline(mounts, line);) {
    if (line.find(" - cgroup2 ") == std::string::npos) continue;
    std::istringstream fields(line);
    std::string field;
    for (int i = 0; i < 5; ++i) fields >> field;
    return field;
  }
  return {};
}

/// A child that waits in the kernel, in a call that no signal but SIGKILL ends, for memory that
/// nobody will bring.
pid_t start_stuck() {
  pid_t child = ::fork();
  if (child != 0) return child;
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  auto faults = static_cast<int>(::syscall(SYS_userfaultfd, O_CLOEXEC));
  uffdio_api api{};
  api.api = UFFD_API;
  void* page = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  uffdio_register range{};
  range.range.start = reinterpret_cast<uintptr_t>(page);
  range.range.len = 4096;
  range.mode = UFFDIO_REGISTER_MODE_MISSING;
  int null = ::open("/dev/zero", O_RDONLY | O_CLOEXEC);
  if (faults < 0 || ::ioctl(faults, UFFDIO_API, &api) < 0 ||
      ::ioctl(faults, UFFDIO_REGISTER, &range) < 0)
    ::_exit(1);
  (void)!::read(null, page, 4096);
  ::_exit(2);
}

class GuestFreeze : public GuestDaemonTest {
 protected:
  void SetUp() override {
    std::string top = cgroup2();
    if (top.empty()) GTEST_SKIP() << "needs control groups of version 2";
    groups_ = top + "/hako-guest-test-" + random_lower_alphanumeric(8);
    if (::mkdir(groups_.c_str(), 0755) < 0) GTEST_SKIP() << "needs to make control groups";
    GuestDaemonTest::SetUp();
  }

  void TearDown() override {
    if (groups_.empty()) return;
    if (daemon_) host_call("/thaw");
    if (fs::exists(groups_)) put(groups_ + "/cgroup.kill", "1");
    GuestDaemonTest::TearDown();
    // A group can be removed once the last of its processes has been reaped.
    for (int i = 0; i < 1000 && !remove_groups(groups_); ++i) std::this_thread::sleep_for(10ms);
    EXPECT_FALSE(fs::exists(groups_));
  }

  static bool remove_groups(const std::string& top) {
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(top, error))
      if (entry.is_directory()) remove_groups(entry.path());
    return ::rmdir(top.c_str()) == 0 || errno == ENOENT;
  }

  std::vector<std::string> options() override { return {"--groups", groups_}; }

  Reply host_call(const std::string& path) { return request(http::Verb::post, path, "{}"); }

  /// A program that adds to the file `name` all the time. Its pid.
  pid_t start_counting(const std::string& name) {
    auto script =
        "echo $$ > " + name + ".pid; while :; do echo x >> " + name + "; sleep 0.005; done";
    // Started by a shell that ends: the daemon sees it as an orphan, as many of a box's are.
    auto started = shell("setsid sh -c '" + script + "' </dev/null >/dev/null 2>&1 &");
    EXPECT_EQ(started.ended().exit_code, 0);
    wait_to_move(name);
    return std::stoi(text_of(folder_ + "/" + name + ".pid"));
  }

  size_t count(const std::string& name) {
    std::error_code error;
    auto size = fs::file_size(folder_ + "/" + name, error);
    return error ? 0 : size;
  }
  bool moves(const std::string& name, std::chrono::milliseconds within) {
    size_t before = count(name);
    auto end = std::chrono::steady_clock::now() + within;
    while (std::chrono::steady_clock::now() < end) {
      if (count(name) != before) return true;
      std::this_thread::sleep_for(5ms);
    }
    return false;
  }
  void wait_to_move(const std::string& name) { ASSERT_TRUE(moves(name, 30s)) << name; }
  /// Not proof: but one that moves does so every few milliseconds.
  void expect_still(const std::string& name) { EXPECT_FALSE(moves(name, 300ms)) << name; }

  std::string groups_;
};

TEST_F(GuestFreeze, ProgramsStandStillUntilTheyAreLetGoOn) {
  start_counting("count");
  ASSERT_EQ(host_call("/freeze").status, 204u);
  expect_still("count");
  EXPECT_EQ(host_call("/freeze").status, 204u) << "once more is no error";
  expect_still("count");
  ASSERT_EQ(host_call("/thaw").status, 204u);
  wait_to_move("count");
  EXPECT_EQ(host_call("/thaw").status, 204u) << "once more is no error";
}

TEST_F(GuestFreeze, ANewIdentityLetsThemGoOn) {
  start_counting("count");
  ASSERT_EQ(host_call("/freeze").status, 204u);
  EXPECT_EQ(init({{"generation", -1}}).status, 400u);
  expect_still("count");  // not by one that is refused
  ASSERT_EQ(init({{"generation", 8}}).status, 204u);
  wait_to_move("count");
}

TEST_F(GuestFreeze, TheDaemonAnswersAndRequestsWait) {
  auto client = run(connect());
  ASSERT_EQ(host_call("/freeze").status, 204u);
  EXPECT_EQ(request(http::Verb::get, "/health").status, 204u);
  // Starting a program now would stop the daemon with it.
  auto ask = [](http::Client& client, http::Request request) -> Task<StreamOutcome> {
    auto head = co_await client.start(std::move(request));
    if (!head) throw std::runtime_error(head.error().message());
    co_return co_await read_stream(client, head.value().status);
  };
  std::atomic<bool> answered = false;
  StreamOutcome outcome;
  std::thread asking([&] {
    asio::io_context io;
    auto body = [&]() -> Task<void> {
      auto stream = co_await http::connect_tcp("127.0.0.1", port_, 5s);
      http::Client late(std::move(stream).value());
      outcome = co_await ask(late, stream_request("process.Process/Start",
                                                  R"({"process":{"cmd":"echo","args":["late"]}})"));
      answered = true;
    };
    asio::co_spawn(io, body(), asio::detached);
    io.run();
  });
  std::this_thread::sleep_for(300ms);
  EXPECT_FALSE(answered);
  EXPECT_EQ(request(http::Verb::get, "/health").status, 204u);
  EXPECT_EQ(host_call("/thaw").status, 204u);
  asking.join();
  EXPECT_EQ(outcome.output(), "late\n");
}

TEST_F(GuestFreeze, WhoeverLeavesMeanwhileIsNotServed) {
  ASSERT_EQ(host_call("/freeze").status, 204u);
  auto leave = [this]() -> Task<bool> {
    auto stream = co_await http::connect_tcp("127.0.0.1", port_, 5s);
    std::string body = R"({"path":")" + folder_ + R"(/made"})";
    std::string text =
        "POST /filesystem.Filesystem/MakeDir HTTP/1.1\r\nHost: x\r\n"
        "Content-Type: application/json\r\nContent-Length: " +
        std::to_string(body.size()) + "\r\n\r\n" + body;
    co_await asio::async_write(stream.value(), asio::buffer(text), asio::use_awaitable);
    // The daemon has it before it hears that the client has gone.
    co_await sleep_for(200ms);
    http::reset_connection(stream.value());
    co_return true;
  };
  run(leave());
  ASSERT_EQ(host_call("/thaw").status, 204u);
  // Served after it, if at all.
  EXPECT_EQ(unary("filesystem.Filesystem/MakeDir", R"({"path":")" + folder_ + R"(/later"})").status,
            200u);
  EXPECT_TRUE(fs::exists(folder_ + "/later"));
  EXPECT_FALSE(fs::exists(folder_ + "/made"));
}

TEST_F(GuestFreeze, WhereverAProgramHasBeenMoved) {
  pid_t top = start_counting("top"), other = start_counting("other");
  pid_t below = start_counting("below");
  start_counting("usual");
  put(groups_ + "/cgroup.procs", std::to_string(top));
  fs::create_directories(groups_ + "/other");
  put(groups_ + "/other/cgroup.procs", std::to_string(other));
  fs::create_directories(groups_ + "/programs/below");
  put(groups_ + "/programs/below/cgroup.procs", std::to_string(below));
  ASSERT_EQ(host_call("/freeze").status, 204u);
  for (const char* name : {"top", "other", "below", "usual"}) expect_still(name);
  ASSERT_EQ(host_call("/thaw").status, 204u);
  for (const char* name : {"top", "other", "below", "usual"}) wait_to_move(name);
}

TEST_F(GuestFreeze, WhatAProgramHasFrozenItselfStaysSo) {
  pid_t own = start_counting("own");
  fs::create_directories(groups_ + "/own");
  put(groups_ + "/own/cgroup.procs", std::to_string(own));
  put(groups_ + "/own/cgroup.freeze", "1");
  ASSERT_EQ(host_call("/freeze").status, 204u);
  ASSERT_EQ(host_call("/thaw").status, 204u);
  EXPECT_EQ(text_of(groups_ + "/own/cgroup.freeze"), "1\n");
  expect_still("own");
}

TEST_F(GuestFreeze, AProgramThatCannotBeFrozenLetsAllGoOn) {
  start_counting("count");
  pid_t stuck = start_stuck();
  ASSERT_GT(stuck, 0);
  std::string about = "/proc/" + std::to_string(stuck);
  // Into its call.
  for (int i = 0; i < 3000 && text_of(about + "/syscall").rfind("0 ", 0) != 0; ++i)
    std::this_thread::sleep_for(5ms);
  ASSERT_EQ(text_of(about + "/syscall").rfind("0 ", 0), 0u) << text_of(about + "/syscall");
  put(groups_ + "/programs/cgroup.procs", std::to_string(stuck));
  auto refused = host_call("/freeze");
  EXPECT_EQ(refused.status, 504u) << refused.body;
  EXPECT_NE(refused.body.find("program " + std::to_string(stuck) + " ("), std::string::npos)
      << refused.body;
  EXPECT_EQ(text_of(groups_ + "/programs/cgroup.freeze"), "0\n");
  wait_to_move("count");
  EXPECT_EQ(shell("true").ended().exit_code, 0);
  ::kill(stuck, SIGKILL);
  ::waitpid(stuck, nullptr, 0);
  EXPECT_EQ(host_call("/freeze").status, 204u) << "and without it, it works";
  expect_still("count");
}

TEST_F(GuestFreeze, ProgramsStartInTheirGroup) {
  auto where = shell("cat /proc/self/cgroup");
  EXPECT_NE(where.output().find("/programs\n"), std::string::npos) << where.output();
  // Removed, as root in the box may do: they start all the same.
  ASSERT_EQ(::rmdir((groups_ + "/programs").c_str()), 0);
  EXPECT_EQ(shell("echo on").output(), "on\n");
  ASSERT_EQ(host_call("/freeze").status, 204u);
  ASSERT_EQ(host_call("/thaw").status, 204u);
}

TEST_F(GuestFreeze, OnlyTheHostMayAsk) {
  auto ask = [this](const char* path) {
    Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    ::inet_pton(AF_INET, "127.0.0.2", &address.sin_addr);
    EXPECT_EQ(::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    address.sin_port = htons(port_);
    ::inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
    EXPECT_EQ(::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    std::string text = std::string("POST ") + path +
                       " HTTP/1.1\r\nHost: x\r\nX-Access-Token: right\r\n"
                       "Connection: close\r\nContent-Length: 0\r\n\r\n";
    EXPECT_TRUE(write_all(fd.get(), text));
    char answer[64]{};
    (void)!::read(fd.get(), answer, sizeof answer - 1);
    return std::string(answer).substr(9, 3);
  };
  ASSERT_EQ(init({{"generation", 3}, {"accessToken", "right"}}).status, 204u);
  EXPECT_EQ(ask("/freeze"), "404");
  EXPECT_EQ(text_of(groups_ + "/programs/cgroup.freeze"), "0\n");
  ASSERT_EQ(host_call("/freeze").status, 204u);
  EXPECT_EQ(ask("/thaw"), "404");
  EXPECT_EQ(ask("/init"), "404");
  EXPECT_EQ(text_of(groups_ + "/programs/cgroup.freeze"), "1\n");
}

class GuestWithoutGroups : public GuestDaemonTest {};

TEST_F(GuestWithoutGroups, SaysThatItCannotFreeze) {
  EXPECT_EQ(request(http::Verb::post, "/freeze", "{}").status, 501u);
  EXPECT_EQ(request(http::Verb::post, "/thaw", "{}").status, 204u);
}

}  // namespace
}  // namespace hako::guest
