// The gate as a process, with a node's end in the test and a guest in a namespace of its own.
#pragma once

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "config/config.h"
#include "support/gate_lab.h"
#include "support/run_task.h"

namespace hako::test {

using namespace std::chrono_literals;

inline const uid_t kGateUid = config::Config().gate_uid;

class GateTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root for network namespaces";
    char name[] = "/tmp/hako-gate-test-XXXXXX";
    directory_ = ::mkdtemp(name);
    ::chmod(directory_.c_str(), 0755);
    guest_.emplace();
  }

  void TearDown() override {
    guest_.reset();
    if (!directory_.empty()) std::filesystem::remove_all(directory_);
  }

  /// What the gate's configuration has in [gate].
  virtual std::string gate_settings() const { return {}; }
  /// Which hako-gate runs, and its environment.
  virtual std::string gate_program() const { return HAKO_GATE_PROGRAM; }
  virtual std::vector<std::string> gate_environment() const { return {}; }

  void run(Task<void> body) { run_on(loop_, run_all(std::move(body)), 100s); }

  Task<void> run_all(Task<void> body) {
    auto executor = co_await asio::this_coro::executor;
    node_.emplace(directory_ + "/gate-control.sock", kGateUid);
    gate_.emplace(executor, directory_, gate_settings(), gate_program(), gate_environment());
    TaskGroup tasks(executor);
    tasks.spawn("node", node_->serve());
    std::exception_ptr fault;
    try {
      co_await node_->wait_for_gate();
      CO_ASSERT_TRUE(co_await node_->add("m1-1", *guest_));
      CO_ASSERT_TRUE(co_await node_->publish("m1-1", "box1", "token1"));
      co_await std::move(body);
    } catch (...) {
      fault = std::current_exception();
    }
    gate_->process().send_signal(SIGTERM);
    auto status = co_await gate_->process().wait();
    EXPECT_EQ(status.code, 0) << status.describe();
    co_await tasks.stop();
    if (fault) std::rethrow_exception(fault);
  }

  static http::Request request(std::string target, std::string box = "box1", int port = 0) {
    http::Request request;
    request.target = std::move(target);
    request.fields.set(http::Field::host, "127.0.0.1");
    if (!box.empty()) request.fields.set("E2b-Sandbox-Id", box);
    if (port) request.fields.set("E2b-Sandbox-Port", std::to_string(port));
    return request;
  }

  Task<http::Client> client() {
    auto stream = co_await http::connect_tcp("127.0.0.1", gate_->port(), 5s);
    co_return http::Client(std::move(stream).value());
  }

  Task<http::Response> ask(http::Request request) {
    auto client = co_await this->client();
    auto exchange = client.exchange(std::move(request));
    auto response = co_await with_deadline(20s, std::move(exchange));
    EXPECT_TRUE(response) << response.error().message();
    co_return response ? std::move(response).value() : http::Response::text(0, "");
  }

  static boost::json::object machine(int64_t deadline_ms = 5000) {
    boost::json::object body;
    body["machine"] = "m1-1";
    body["deadline_ms"] = deadline_ms;
    return body;
  }

  Task<Result<boost::json::object>> exec(std::string cmd, int64_t deadline_ms = 5000) {
    auto body = machine(deadline_ms);
    body["cmd"] = cmd;
    body["args"] = boost::json::array{"a", "b c"};
    body["user"] = "root";
    body["output_limit"] = 50'000;
    auto order = node_->order("machine.exec", std::move(body));
    co_return co_await std::move(order);
  }

  asio::io_context loop_;
  std::string directory_;
  std::optional<ScriptedGuest> guest_;
  std::optional<TestNode> node_;
  std::optional<GateProcess> gate_;
};

/// A test whose body is a coroutine, of a class derived from GateTest.
#define GATE_TEST_IN(fixture, name)         \
  class fixture##_##name : public fixture { \
   protected:                               \
    Task<void> body();                      \
  };                                        \
  TEST_F(fixture##_##name, run) {           \
    GateTest::run(body());                  \
  }                                         \
  Task<void> fixture##_##name::body()
#define GATE_TEST(name) GATE_TEST_IN(GateTest, name)

}  // namespace hako::test
