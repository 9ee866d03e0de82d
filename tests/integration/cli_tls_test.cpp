// The command line over https: what it trusts and what not, and that all of it works there.
#include <gmock/gmock.h>

#include "support/certificates.h"
#include "support/cli_lab.h"

namespace hako::test {
namespace {

using ::testing::HasSubstr;

class SecureCommandLine : public CommandLine {
 protected:
  SecureCommandLine() : certificates_(path_) {
    certificates_.issue("local", "DNS:localhost,IP:127.0.0.1");
    serve(api_, "local");
    api_.name_gate({{"gateUrl", url()}});
  }
  void serve(StandIn& server, const std::string& name) {
    server.use_certificate(certificates_.certificate(name), certificates_.key_file(name));
  }
  std::string url(const std::string& host = "localhost") const {
    return "https://" + host + ":" + std::to_string(api_.port());
  }
  std::string trust() const { return "HAKO_CA_FILE=" + certificates_.authority(); }
  /// hako with the test's authority trusted.
  std::string secure() { return hako(url(), trust()); }
  Outcome list(const std::string& at, const std::string& settings, const std::string& options = {}) {
    return shell(hako(at, settings) + " " + options + " ps --json");
  }

  Certificates certificates_;
};

TEST_F(SecureCommandLine, ATrustedAuthorityIsEnough) {
  EXPECT_EQ(list(url(), trust()).status, 0);
  EXPECT_EQ(list(url("127.0.0.1"), trust()).status, 0) << "an address that the certificate names";
  EXPECT_EQ(list(url(), "", "--ca " + certificates_.authority()).status, 0);
  EXPECT_EQ(list(url(), "HAKO_CA_FILE=/nowhere", "--ca " + certificates_.authority()).status, 0);
  EXPECT_EQ(list(url(), "SSL_CERT_FILE=" + certificates_.authority()).status, 0);
  EXPECT_EQ(api_.plain, 0);
  EXPECT_GE(api_.encrypted, 5);
}

TEST_F(SecureCommandLine, WhatIsNotTrustedIsToldAndGetsNoKey) {
  auto stranger = list(url(), "");
  EXPECT_EQ(stranger.status, 1);
  EXPECT_THAT(stranger.err, HasSubstr("not trusted here (CN = hako test authority)"));
  EXPECT_THAT(stranger.err, HasSubstr("--ca FILE"));
  // An authority that is named is the only one.
  certificates_.self_sign("own", "DNS:localhost");
  EXPECT_EQ(list(url(), "HAKO_CA_FILE=" + certificates_.certificate("own")).status, 1);
  auto missing = list(url(), "HAKO_CA_FILE=/nowhere/ca.pem");
  EXPECT_EQ(missing.status, 1);
  EXPECT_THAT(missing.err, HasSubstr("/nowhere/ca.pem cannot be read"));

  serve(api_, "own");
  auto own = list(url(), trust());
  EXPECT_EQ(own.status, 1);
  EXPECT_THAT(own.err, HasSubstr("not trusted here (CN = own)"));
  EXPECT_EQ(list(url(), "HAKO_CA_FILE=" + certificates_.certificate("own")).status, 0)
      << "unless it is what is trusted";

  certificates_.issue("past", "DNS:localhost", -1);
  serve(api_, "past");
  auto past = list(url(), trust());
  EXPECT_EQ(past.status, 1);
  EXPECT_THAT(past.err, HasSubstr("has expired on 20"));

  certificates_.issue("other", "DNS:other.test,DNS:*.localhost,IP:127.0.0.2");
  serve(api_, "other");
  for (const char* host : {"localhost", "127.0.0.1"}) {
    auto other = list(url(host), trust());
    EXPECT_EQ(other.status, 1);
    EXPECT_THAT(other.err, HasSubstr("is for other.test, *.localhost, 127.0.0.2, and not for " +
                                     std::string(host)));
  }
  EXPECT_EQ(api_.encrypted, 1) << "the others ended before anything was said";
}

TEST_F(SecureCommandLine, ASubjectIsNoName) {
  // "/CN=localhost" was a host name once.
  certificates_.issue("localhost", "DNS:elsewhere.test");
  serve(api_, "localhost");
  EXPECT_EQ(list(url(), trust()).status, 1);
}

TEST_F(SecureCommandLine, AServerThatSpeaksNoTlsIsTold) {
  Fd listener = http::listen_tcp("127.0.0.1", 0).value();
  uint16_t port = http::local_port(listener);
  std::thread server([&] {
    // For the listener's own non-blocking accept: wait for the client.
    pollfd waited{listener.get(), POLLIN, 0};
    ::poll(&waited, 1, 20000);
    Fd connection(::accept(listener.get(), nullptr, nullptr));
    std::string answer = "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";
    EXPECT_GT(::send(connection.get(), answer.data(), answer.size(), MSG_NOSIGNAL), 0);
    char byte;
    while (::recv(connection.get(), &byte, 1, 0) > 0) {
    }
  });
  auto told = list("https://localhost:" + std::to_string(port), trust());
  server.join();
  EXPECT_EQ(told.status, 1);
  EXPECT_THAT(told.err, HasSubstr("speaks no TLS"));
}

TEST_F(SecureCommandLine, CommandsRunAsTheyDoPlainly) {
  auto done = shell(secure() + " run -e A=b -- sh -c 'echo out $A; echo err >&2; exit 7'");
  EXPECT_EQ(done.status, 7);
  EXPECT_EQ(done.out, "out b\n");
  EXPECT_EQ(done.err, "err\n");
  EXPECT_EQ(api_.running(), 0u);
  auto much = shell("head -c 60000000 /dev/urandom > big; cat big | " + secure() +
                    " run -i -- cat | cmp - big");
  EXPECT_EQ(much.status, 0) << much.err;
  EXPECT_EQ(api_.plain, 0);
}

TEST_F(SecureCommandLine, ALongCommandGoesOnAndIsEndedBySignals) {
  std::string id = api_.add_box();
  auto ticks = shell(secure() + " exec " + id +
                     " -- sh -c 'for i in 1 2 3 4 5; do echo $i; sleep 1; done; exit 3'");
  EXPECT_EQ(ticks.status, 3) << ticks.err;
  EXPECT_EQ(ticks.out, "1\n2\n3\n4\n5\n");
  auto ended = shell("timeout --foreground -s INT 2 " + secure() + " exec " + id +
                     " -- sh -c 'trap \"echo ending; exit 0\" TERM; while :; do sleep 0.05; done'");
  EXPECT_EQ(ended.out, "ending\n");
  EXPECT_EQ(api_.plain, 0);
}

TEST_F(SecureCommandLine, FilesGoInAndOutUnchanged) {
  std::string id = api_.add_box();
  auto in = shell("head -c 100000000 /dev/urandom > big && " + secure() + " cp big " + id + ":" +
                  path_ + "/sub/copy && cmp big sub/copy");
  EXPECT_EQ(in.status, 0) << in.err;
  auto out = shell(secure() + " cp " + id + ":" + path_ + "/sub/copy back && cmp big back");
  EXPECT_EQ(out.status, 0) << out.err;
  auto tree = shell("mkdir -p tree/a && echo one > tree/a/x && head -c 3000000 /dev/urandom "
                    "> tree/z && " + secure() + " cp tree " + id + ":" + path_ + "/there && " +
                    secure() + " cp " + id + ":" + path_ + "/there tree2 && diff -r tree tree2");
  EXPECT_EQ(tree.status, 0) << tree.err;
  EXPECT_EQ(api_.plain, 0);
}

TEST_F(SecureCommandLine, RequestsForBoxesGoToAGateThatProvesItself) {
  StandIn gate(guest_port_);
  serve(gate, "local");
  std::string id = api_.add_box();
  ASSERT_EQ(gate.add_box(), id);
  std::string there = "localhost:" + std::to_string(gate.port());
  api_.name_gate({{"gateUrl", "https://" + there}});
  std::string echo = " exec " + id + " -- echo said";
  EXPECT_EQ(shell(secure() + echo).out, "said\n");
  EXPECT_GT(gate.encrypted, 0);
  EXPECT_EQ(gate.plain, 0);

  // One that is not who it should be is passed by.
  certificates_.self_sign("own", "DNS:localhost");
  serve(gate, "own");
  int before = gate.encrypted;
  EXPECT_EQ(shell(secure() + echo).out, "said\n");
  EXPECT_EQ(gate.encrypted, before);
}

}  // namespace
}  // namespace hako::test
