// A stand-in API in front of a real in-guest daemon, which runs on this machine, and the command line
// in a folder of its own.
#pragma once

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
#include "tls/server.h"

namespace hako::test {

namespace fs = std::filesystem;
namespace json = boost::json;
using namespace std::chrono_literals;

inline constexpr const char* kKey = "e2b_0123456789abcdef0123456789abcdef01234567";
inline constexpr const char* kToken = "secrettoken";

/// Waits until `done` says so; false after 20 s.
inline bool eventually(const std::function<bool()>& done) {
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
    http::Welcome welcome = [this](http::Stream stream) { return admit(std::move(stream)); };
    tasks_.spawn("api", http::serve(std::move(listener), handler, {}, std::move(welcome)));
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
  uint16_t port() const { return port_; }
  /// Speaks TLS, too, with these PEM files from now on.
  void use_certificate(const std::string& certificate, const std::string& key) {
    std::promise<bool> used;
    asio::post(loop_, [&] {
      used.set_value(
          tls_.use(read_file(certificate).value(), read_file(key).value()).has_value());
    });
    ASSERT_TRUE(used.get_future().get());
  }
  /// What clients are told of the gate; by default all is in one place.
  void name_gate(json::object info) {
    std::lock_guard lock(mutex_);
    gate_ = std::move(info);
  }
  /// Connections over TLS, and plain ones.
  std::atomic<int> encrypted{0}, plain{0};
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
  /// Of the last create, or of what was last asked of a box.
  std::string last_body() {
    std::lock_guard lock(mutex_);
    return last_body_;
  }
  /// Creates take this long to be answered.
  std::atomic<int> create_delay_ms{0};

 private:
  Task<Result<http::Stream>> admit(http::Stream stream) {
    HAKO_CO_TRY(auto admitted, co_await tls_.welcome(std::move(stream)));
    ++(admitted.layer() ? encrypted : plain);
    co_return std::move(admitted);
  }
  json::object describe(const std::string& id) {
    json::object box;
    box["sandboxID"] = id;
    box["templateID"] = "base";
    box["clientID"] = "local";
    box["envdVersion"] = "0.6.4";
    box["envdAccessToken"] = kToken;
    box["state"] = paused_.contains(id) ? "paused" : "running";
    box["memoryMB"] = 256;
    box["cpuCount"] = 1;
    box["startedAt"] = "2026-01-01T00:00:00.000Z";
    box["endAt"] = "2126-01-01T00:00:00.000Z";
    return box;
  }
  /// What is posted about one: pause, connect, fork, snapshots, rollback.
  http::Response act_on_box(const std::string& path, const std::string& body) {
    size_t begin = path.find("/sandboxes/") + 11, end = path.find('/', begin);
    std::string id = path.substr(begin, end - begin), action = path.substr(end + 1);
    if (!known(id)) return http::error_response(404, "sandbox " + id + " not found");
    std::unique_lock lock(mutex_);
    last_body_ = body;
    if (action == "pause") {
      if (!paused_.insert(id).second) return http::error_response(409, "sandbox is paused");
      return http::Response::empty();
    }
    if (action == "fork") {
      lock.unlock();
      json::object child, failed;
      child["sandbox"] = describe(add_box());
      failed["error"] = json::object{{"code", 429}, {"message", "the tenant's quota is used up"}};
      return http::Response::json(201, json::array{std::move(child), std::move(failed)});
    }
    if (action == "snapshots") {
      snapshots_.insert("s-one");
      return http::Response::json(201, json::object{{"snapshotID", "s-one"}});
    }
    if (action == "rollback" && body.find("s-one") == body.npos) {
      return http::error_response(404, "snapshot 'none' not found");
    }
    paused_.erase(id);
    lock.unlock();
    return http::Response::json(200, describe(id));
  }
  json::array snapshots() {
    std::lock_guard lock(mutex_);
    json::array list;
    for (const std::string& id : snapshots_) {
      list.push_back(json::object{{"snapshotID", id}, {"names", json::array{"first:default"}},
                                  {"sandboxID", "itest1"}, {"label", "public"},
                                  {"createdAt", "2026-01-01T00:00:00.000Z"}, {"memoryMB", 256},
                                  {"sizeBytes", 3 << 20}});
    }
    return list;
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
      json::object info{{"gateUrl", url()}};
      {
        std::lock_guard lock(mutex_);
        if (!gate_.empty()) info = gate_;
      }
      response = http::Response::json(200, info);
    } else if (path == "/v2/sandboxes" && method == http::Verb::post) {
      {
        std::lock_guard lock(mutex_);
        ++asked_;
      }
      co_await sleep_for(std::chrono::milliseconds(create_delay_ms));
      {
        std::lock_guard lock(mutex_);
        last_body_ = body ? body.value() : "";
      }
      response = http::Response::json(201, describe(add_box()));
    } else if (path == "/v2/sandboxes") {
      json::array list;
      {
        std::lock_guard lock(mutex_);
        for (const auto& id : boxes_) list.push_back(describe(id));
      }
      response = http::Response::json(200, list);
    } else if (method == http::Verb::post && path.find("/sandboxes/") != path.npos) {
      response = act_on_box(path, body ? body.value() : "");
    } else if (path == "/snapshots") {
      response = http::Response::json(200, snapshots());
    } else if (path.starts_with("/templates/") && method == http::Verb::delete_) {
      std::lock_guard lock(mutex_);
      if (snapshots_.erase(path.substr(11)) != 0) response = http::Response::empty();
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
  tls::Server tls_;
  json::object gate_;
  asio::io_context loop_{1};
  TaskGroup tasks_;
  std::thread thread_;
  std::mutex mutex_;
  std::set<std::string> boxes_, paused_, snapshots_;
  std::string last_body_;
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
  std::string hako() { return hako(api_.url()); }
  std::string hako(const std::string& url, const std::string& settings = {}) {
    return "env -u SSL_CERT_FILE -u HAKO_CA_FILE HAKO_CONFIG=" + path_ + "/hako.toml HAKO_API_URL=" +
           url + " HAKO_API_KEY=" + kKey + " " + settings + " " HAKO_PROGRAM;
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

  static inline pid_t guest_ = -1;
  static inline uint16_t guest_port_ = 0;
  std::string path_;
  StandIn api_;
};

}  // namespace hako::test
