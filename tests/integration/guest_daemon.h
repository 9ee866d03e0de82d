// The real daemon of a box, running on this host for a test.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/fd.h"
#include "base/process.h"
#include "http/client.h"
#include "wire/process.h"

namespace hako::guest {

/// What came of one streaming call.
struct StreamOutcome {
  unsigned status = 0;
  std::vector<wire::ProcessEvent> events;
  Result<void> end = Error(ErrorCode::internal, "no end frame");

  /// All bytes of one output.
  std::string output(wire::OutputStream stream = wire::OutputStream::out) const;
  /// The end event, which must be the last.
  wire::ProcessEnd ended() const;
};

struct Reply {
  unsigned status = 0;
  http::Fields fields;
  std::string body;
};

/// Starts the program on a free loopback port and ends it with the test.
class GuestDaemonTest : public testing::Test {
 protected:
  void SetUp() override;
  void TearDown() override;
  /// Further arguments of the daemon.
  virtual std::vector<std::string> options() { return {}; }

  /// Runs `task` to its end on the test's executor; a hang fails the test.
  template <class T>
  T run(Task<T> task) {
    std::optional<T> value;
    std::exception_ptr fault;
    bool done = false;
    asio::co_spawn(io_, keep(std::move(task), value), [&](std::exception_ptr thrown) {
      fault = thrown;
      done = true;
    });
    io_.restart();
    while (!done && io_.run_one_for(std::chrono::seconds(60)) > 0) {
    }
    if (fault) std::rethrow_exception(fault);
    if (!value) throw std::runtime_error("nothing happened for 60 s");
    return std::move(*value);
  }
  template <class T>
  static Task<void> keep(Task<T> task, std::optional<T>& value) {
    value.emplace(co_await std::move(task));
  }

  Task<http::Client> connect();
  Reply request(http::Verb method, std::string target, std::string body = {},
                std::vector<std::pair<std::string, std::string>> headers = {});
  /// A unary call; the body is JSON text.
  Reply unary(std::string_view method, std::string body,
              std::vector<std::pair<std::string, std::string>> headers = {});
  /// The request of a streaming call.
  static http::Request stream_request(std::string_view method, std::string_view message);
  /// A whole streaming call.
  StreamOutcome stream(std::string_view method, std::string message,
                       std::vector<std::pair<std::string, std::string>> headers = {});
  /// Starts `sh -c script` as the default user.
  StreamOutcome shell(const std::string& script);
  static Task<StreamOutcome> read_stream(http::Client& client, unsigned status,
                                         std::string already = {});
  static std::pair<std::string, std::string> as_user(const std::string& name);
  /// The body of /init with these members.
  Reply init(boost::json::object members);

  asio::io_context io_;
  std::string folder_;
  uint16_t port_ = 0;
  uint16_t relay_port_ = 0;
  std::optional<Process> daemon_;
};

}  // namespace hako::guest
