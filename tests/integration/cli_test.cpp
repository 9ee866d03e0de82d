// The command line against a stand-in API in front of a real in-guest daemon, which runs on this
// machine: real processes, terminals and files, without a virtual machine.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <future>
#include <mutex>
#include <set>
#include <thread>

#include "base/async/task_group.h"
#include "base/fd.h"
#include "http/client.h"
#include "http/relay.h"
#include "http/server.h"

namespace hako {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;
using namespace std::chrono_literals;

constexpr const char* kKey = "e2b_0123456789abcdef0123456789abcdef01234567";
constexpr const char* kToken = "secrettoken";

/// Waits until `done` says so; false after 20 s.
bool eventually(const std::function<bool()>& done) {
  for (int i = 0; i < 2000; ++i) {
    if (done()) return true;
    std::this_thread::sleep_for(10ms);
  }
  return false;
}

/// The API as the command line needs it. Boxes are names only: all lead to one daemon.
class StandIn {
 public:
  explicit StandIn(uint16_t guest_port) : guest_port_(guest_port), tasks_(loop_.get_executor()) {
    Fd listener = http::listen_tcp("127.0.0.1", 0).value();
    port_ = http::local_port(listener);
    auto handler = [this](http::Exchange& exchange) { return handle(exchange); };
    tasks_.spawn("api", http::serve(std::move(listener), handler));
    thread_ = std::thread([this] { loop_.run(); });
  }
  ~StandIn() {
    std::promise<void> stopped;
    asio::co_spawn(loop_, tasks_.stop(), [&](std::exception_ptr) { stopped.set_value(); });
    stopped.get_future().wait();
    loop_.stop();
    thread_.join();
  }
  std::string url() const { return "http://127.0.0.1:" + std::to_string(port_); }
  size_t running() {
    std::lock_guard lock(mutex_);
    return boxes_.size();
  }
  size_t created() {
    std::lock_guard lock(mutex_);
    return created_;
  }
  size_t asked() {
    std::lock_guard lock(mutex_);
    return asked_;
  }
  std::string add_box() {
    std::lock_guard lock(mutex_);
    std::string id = "itest" + std::to_string(++created_);
    boxes_.insert(id);
    return id;
  }
  void remove_all() {
    std::lock_guard lock(mutex_);
    boxes_.clear();
  }
  /// Creates take this long to be answered.
  std::atomic<int> create_delay_ms{0};

 private:
  json::object describe(const std::string& id) {
    json::object box;
    box["sandboxID"] = id;
    box["templateID"] = "base";
    box["clientID"] = "local";
    box["envdVersion"] = "0.6.4";
    box["envdAccessToken"] = kToken;
    box["state"] = "running";
    box["memoryMB"] = 256;
    box["cpuCount"] = 1;
    box["startedAt"] = "2026-01-01T00:00:00.000Z";
    box["endAt"] = "2126-01-01T00:00:00.000Z";
    return box;
  }
  bool known(const std::string& id) {
    std::lock_guard lock(mutex_);
    return boxes_.contains(id);
  }

  Task<void> relay_to_guest(http::Exchange& exchange) {
    std::string id(exchange.head().header("E2b-Sandbox-Id"));
    if (!known(id)) {
      auto sent = co_await exchange.respond(http::error_response(502, "The sandbox was not found"));
      static_cast<void>(sent);
      co_return;
    }
    bool allowed = exchange.head().header("X-Access-Token") == kToken &&
                   exchange.head().header("E2b-Sandbox-Port") == "49983";
    if (!allowed) {
      auto sent = co_await exchange.respond(http::error_response(401, "wrong token"));
      static_cast<void>(sent);
      co_return;
    }
    auto stream = co_await http::connect_tcp("127.0.0.1", guest_port_, 5s);
    if (!stream) {
      exchange.abort();
      co_return;
    }
    http::Client upstream(std::move(stream.value()));
    // The daemon runs on this machine, which has no user called "user".
    http::RequestHead head = exchange.head();
    if (head.header("Authorization").empty()) head.fields.set("Authorization", "Basic cm9vdDo=");
    if (head.path() == "/files") head.target += "&username=root";
    auto outcome = co_await http::relay(exchange, std::move(head), upstream);
    if (outcome == http::RelayOutcome::refused) exchange.abort();
  }

  Task<void> handle(http::Exchange& exchange) {
    if (!exchange.head().header("E2b-Sandbox-Id").empty()) {
      co_await relay_to_guest(exchange);
      co_return;
    }
    auto body = co_await exchange.read_body(1 << 20);
    http::Response response = http::error_response(404, "no such thing");
    std::string path(exchange.head().path());
    http::Verb method = exchange.head().method;
    if (exchange.head().header("X-API-KEY") != kKey) {
      response = http::error_response(401, "bad key");
    } else if (path == "/v1/info") {
      json::object info;
      info["gateUrl"] = url();
      response = http::Response::json(200, info);
    } else if (path == "/v2/sandboxes" && method == http::Verb::post) {
      {
        std::lock_guard lock(mutex_);
        ++asked_;
      }
      co_await sleep_for(std::chrono::milliseconds(create_delay_ms));
      response = http::Response::json(201, describe(add_box()));
    } else if (path == "/v2/sandboxes") {
      json::array list;
      {
        std::lock_guard lock(mutex_);
        for (const auto& id : boxes_) list.push_back(describe(id));
      }
      response = http::Response::json(200, list);
    } else if (path.starts_with("/sandboxes/")) {
      std::string id = path.substr(11);
      if (known(id) && method == http::Verb::get)
        response = http::Response::json(200, describe(id));
      if (known(id) && method == http::Verb::delete_) {
        std::lock_guard lock(mutex_);
        boxes_.erase(id);
        response = http::Response::empty();
      }
    }
    auto sent = co_await exchange.respond(std::move(response));
    static_cast<void>(sent);
  }

  uint16_t guest_port_;
  uint16_t port_ = 0;
  asio::io_context loop_{1};
  TaskGroup tasks_;
  std::thread thread_;
  std::mutex mutex_;
  std::set<std::string> boxes_;
  size_t created_ = 0, asked_ = 0;
};

struct Outcome {
  int status = -1;
  std::string out, err;
};

class CommandLine : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    // A free port, found by taking it for a moment.
    {
      Fd listener = http::listen_tcp("127.0.0.1", 0).value();
      guest_port_ = http::local_port(listener);
    }
    guest_ = ::fork();
    if (guest_ == 0) {
      std::string listen = "127.0.0.1:" + std::to_string(guest_port_);
      ::execl(HAKO_GUEST, "hako-guest", "--listen", listen.c_str(), "--root-free", nullptr);
      ::_exit(127);
    }
    ASSERT_TRUE(eventually([] {
      Fd probe(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
      sockaddr_in address{};
      address.sin_family = AF_INET;
      address.sin_port = htons(guest_port_);
      address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
      return ::connect(probe.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
    }));
  }
  static void TearDownTestSuite() {
    ::kill(guest_, SIGTERM);
    ::waitpid(guest_, nullptr, 0);
  }

  CommandLine() : api_(guest_port_) {
    char pattern[] = "/tmp/hako-cli-run-XXXXXX";
    path_ = ::mkdtemp(pattern);
    std::ofstream(path_ + "/hako.toml");
  }
  ~CommandLine() override {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }

  /// What stands before every command: the program with its settings.
  std::string hako() {
    return "env HAKO_CONFIG=" + path_ + "/hako.toml HAKO_API_URL=" + api_.url() +
           " HAKO_API_KEY=" + kKey + " " HAKO_PROGRAM;
  }
  std::string get(const std::string& name) {
    auto text = read_file(path_ + "/" + name, 1 << 20);
    return text ? text.value() : "";
  }
  /// Runs "hako <arguments>" in a shell, in our directory.
  Outcome run(const std::string& arguments) { return shell(hako() + " " + arguments); }
  Outcome shell(const std::string& command) {
    std::string whole = "cd " + path_ + " && { " + command + "; } >out 2>err";
    int status = std::system(whole.c_str());
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, get("out"), get("err")};
  }
  /// Starts hako without a shell in between, so that signals meet it.
  pid_t start(std::vector<std::string> arguments, int out = -1) {
    pid_t pid = ::fork();
    if (pid != 0) return pid;
    ::setenv("HAKO_CONFIG", (path_ + "/hako.toml").c_str(), 1);
    ::setenv("HAKO_API_URL", api_.url().c_str(), 1);
    ::setenv("HAKO_API_KEY", kKey, 1);
    if (out >= 0) ::dup2(out, 1);
    std::vector<char*> argv{const_cast<char*>("hako")};
    for (auto& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    ::execv(HAKO_PROGRAM, argv.data());
    ::_exit(99);
  }
  static int wait(pid_t pid) {
    int status = 0;
    ::waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
  }

  static pid_t guest_;
  static uint16_t guest_port_;
  std::string path_;
  StandIn api_;
};
pid_t CommandLine::guest_ = -1;
uint16_t CommandLine::guest_port_ = 0;

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
}  // namespace hako
