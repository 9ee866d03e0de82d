// A box with secrets whose TLS a real gate ends, between a fake api and servers of the test's own.
#pragma once

#include <gmock/gmock.h>

#include "support/certificates.h"
#include "support/gate_lab_broker.h"
#include "support/gate_lab_egress.h"
#include "tls/client.h"

namespace hako::test {

class InterceptTest : public EgressTest {
 protected:
  static constexpr char kValue[] = "sk-real-0123456789abcdefABCDEF-real";
  static constexpr char kPlaceholder[] = "sk-fake-zyxwvutsrq9876543210ZY-fake";
  static constexpr char kOtherPlaceholder[] = "gh-fake-MNBVCXZLKJHGFDSAPOIUYTREWQ1";
  static constexpr char kBoxName[] = "box1";

  void SetUp() override;
  std::string gate_settings() const override;
  void run(Task<void> body);

  /// web.example, with one secret "api" for x-api-key, Authorization: Bearer and Basic.
  boost::json::object material(std::string value = kValue) const;
  static boost::json::object swap(std::string kind, std::string value = kValue);
  policy::EgressPolicy intercepting() const;

  /// curl in the box, which trusts the box's own authority.
  Task<Ran> curl(std::string arguments, std::string name = "web.example");
  /// Says `bytes` to the host after a handshake, and reads to the end.
  Task<std::string> talk_tls(std::string bytes, std::string name = "web.example");
  Task<http::Stream> connect_tls(std::string name = "web.example");
  Task<std::string> read_for(http::Stream& stream, std::string until, Duration patience = 3s);
  static Task<void> say(http::Stream& stream, std::string bytes);

  /// One request as a server saw it: its head's fields and its body.
  struct Seen {
    std::string target;
    http::Fields fields;
    std::string body;
    bool whole = false;
  };
  std::vector<Seen> seen;
  std::map<std::string, http::Handler> paths;  ///< answers to some of them, once they were read
  /// Whether some server has got this, anywhere.
  bool arrived(const std::string& text) const;

  std::optional<Certificates> outside_, box_ca_;
  std::optional<TestBroker> broker_;

 private:
  Task<void> run_beside(Task<void> body);
  Task<void> answer(http::Exchange& exchange);
};

#define INTERCEPT_TEST_IN(fixture, name)    \
  class fixture##_##name : public fixture { \
   protected:                               \
    Task<void> body();                      \
  };                                        \
  TEST_F(fixture##_##name, run) {           \
    InterceptTest::run(body());             \
  }                                         \
  Task<void> fixture##_##name::body()
#define INTERCEPT_TEST(name) INTERCEPT_TEST_IN(InterceptTest, name)

}  // namespace hako::test
