// A box whose egress goes through a real gate, with a world of the test's own outside.
#pragma once

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "config/config.h"
#include "policy/egress_json.h"
#include "support/gate_lab.h"
#include "support/gate_lab_world.h"
#include "support/guest_stack.h"
#include "support/run_task.h"

namespace hako::test {

using namespace std::chrono_literals;

/// What came of a DNS question.
struct DnsReply {
  int rcode = -1;  ///< -1: no answer
  std::string address;
  std::string text;  ///< the whole message
};

class EgressTest : public ::testing::Test {
 protected:
  using Target = policy::Target;

  void SetUp() override;
  void TearDown() override;

  /// Which hako-gate runs, and its environment.
  virtual std::string gate_program() const { return HAKO_GATE_PROGRAM; }
  virtual std::vector<std::string> gate_environment() const { return {}; }
  /// Lines of its section [gate].
  virtual std::string gate_settings() const { return {}; }

  void run(Task<void> body) { run_on(loop_, run_all(std::move(body)), 100s); }
  Task<void> run_all(Task<void> body);
  void start_gate();
  /// Waits for the gate, adds the machine again and publishes it with `policy_`.
  Task<void> announce();

  /// One layer that lets through what the list names; lists have spaces between their entries.
  static policy::EgressPolicy allow(const std::string& list);
  static policy::EgressPolicy internet(const std::string& deny = {});
  static policy::EgressPolicy nothing() { return {}; }
  /// machine.egress: when it returns, the policy holds.
  Task<void> set_policy(policy::EgressPolicy policy);

  /// An unconnected socket of the guest.
  Result<Fd> guest_socket(int type);
  /// A connection of the guest, as far as the handshake: that the gate takes it says nothing.
  Task<http::Stream> connect(std::string address, uint16_t port);
  /// The address that the guest is told for `name`; empty if none.
  Task<std::string> lookup(std::string name);
  Task<DnsReply> ask_dns(std::string name, int type = 1, std::string server = "169.254.0.22",
                         bool edns = true);
  /// Connects, sends, and reads until the end: what came, and "<reset>" behind it if that was how
  /// it ended, "<open>" if it has not ended within 3 s.
  Task<std::string> talk(std::string address, uint16_t port, std::string sent = {});
  /// For a name: looks it up first.
  Task<std::string> talk_to(std::string name, uint16_t port, std::string sent = {});
  static Task<std::string> rest_of(http::Stream& stream, Duration patience = 3s);
  static Task<void> send(http::Stream& stream, std::string bytes);
  static Task<std::string> receive(http::Stream& stream, size_t count);

  struct Ran {
    int code = -1;
    std::string output;
  };
  /// Runs a program in the guest's namespace to its end.
  Task<Ran> run_in_guest(std::string command);

  /// Waits for a record that has the members of this JSON object; fails the test after 3 s.
  Task<boost::json::object> record(std::string members);

  asio::io_context loop_;
  asio::thread_pool pool_{1};
  std::string directory_, slots_;
  std::optional<network::Slot> slot_;
  std::optional<GuestStack> guest_;
  std::optional<World> world_;
  std::optional<TestNode> node_;
  std::optional<GateProcess> gate_;
  policy::EgressPolicy policy_;
};

/// A test whose body is a coroutine, of a class derived from EgressTest.
#define EGRESS_TEST_IN(fixture, name)       \
  class fixture##_##name : public fixture { \
   protected:                               \
    Task<void> body();                      \
  };                                        \
  TEST_F(fixture##_##name, run) {           \
    EgressTest::run(body());                \
  }                                         \
  Task<void> fixture##_##name::body()
#define EGRESS_TEST(name) EGRESS_TEST_IN(EgressTest, name)

}  // namespace hako::test
