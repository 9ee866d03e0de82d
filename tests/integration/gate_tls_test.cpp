// The gate behind TLS, as curl sees it.
#include <gmock/gmock.h>

#include <cstdio>

#include "base/fd.h"
#include "http/server.h"
#include "rpc/peer.h"
#include "support/gate_fixture.h"

namespace hako::test {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

struct Ran {
  int code = -1;
  std::string output;
};

/// Blocks; for another thread than the one that plays the node.
Ran run_command(const std::string& command) {
  Ran ran;
  FILE* pipe = ::popen((command + " 2>&1").c_str(), "re");
  if (!pipe) return ran;
  char buffer[4096];
  while (size_t count = ::fread(buffer, 1, sizeof buffer, pipe)) ran.output.append(buffer, count);
  int status = ::pclose(pipe);
  ran.code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return ran;
}

class TlsGateTest : public GateTest {
 protected:
  std::string gate_settings() const override {
    return "domain = \"hako.test:3002\"\ncertificate = \"/nowhere/chain\"\nkey = "
           "\"/nowhere/key\"\n";
  }

  /// Makes <name>.pem and <name>.key for *.hako.test.
  void make_certificate(const std::string& name) {
    std::string base = directory_ + "/" + name;
    Ran made = run_command(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=" +
        name + " -addext subjectAltName=DNS:*.hako.test -keyout " + base + ".key -out " + base +
        ".pem");
    ASSERT_EQ(made.code, 0) << made.output;
  }

  Task<Result<boost::json::object>> hand_over(std::string certificate, std::string key) {
    boost::json::object body;
    body["certificate"] = read_file(directory_ + "/" + certificate + ".pem").value();
    body["key"] = read_file(directory_ + "/" + key + ".key").value();
    auto order = node_->order("gate.certificate", std::move(body));
    co_return co_await std::move(order);
  }

  /// curl for `host`, which leads to the gate, trusting the certificate `trusted`.
  Task<Ran> curl(std::string host, std::string path, std::string options = {},
                 std::string trusted = "first") {
    std::string port = std::to_string(gate_->port());
    std::string command = "curl -sS --max-time 20 --noproxy '*' --cacert " + directory_ + "/" +
                          trusted + ".pem --resolve " + host + ":" + port + ":127.0.0.1 " +
                          options + " https://" + host + ":" + port + path;
    auto work = [command] { return run_command(command); };
    co_return co_await run_blocking(pool_, work);
  }

  asio::thread_pool pool_{1};
};

Task<void> be_api(http::Exchange& exchange) {
  auto body = co_await exchange.read_body(1 << 20);
  std::string came(exchange.head().header("X-Forwarded-Proto"));
  auto response = http::Response::text(
      200, "api " + exchange.head().target + " " + came + " " + (body ? body.value() : "?"));
  (void)co_await exchange.respond(std::move(response));
}

GATE_TEST_IN(TlsGateTest, serves_boxes_by_name_and_never_agrees_on_h2) {
  make_certificate("first");
  auto early = co_await curl("49983-box1.hako.test", "/health");
  EXPECT_NE(early.code, 0) << "without a certificate there is no TLS";
  CO_ASSERT_TRUE(co_await hand_over("first", "first"));
  auto health =
      co_await curl("49983-box1.hako.test", "/health", "-w '%{http_code} %{http_version}'");
  EXPECT_EQ(health.output, "204 1.1");
  std::string again = "https://49983-box1.hako.test:" + std::to_string(gate_->port()) + "/files";
  auto kept = co_await curl("49983-box1.hako.test", "/health",
                            "-w '%{num_connects} ' " + again + " " + again);
  EXPECT_EQ(kept.output, "files 1 files 0 0 ") << "one connection for all";
  auto service = co_await curl("8080-box1.hako.test", "/x");
  EXPECT_THAT(service.output, StartsWith("service /x 8080-box1.hako.test:"));
  std::string upload = directory_ + "/upload";
  CO_ASSERT_TRUE(write_file_atomically(upload, std::string(3 << 20, 'u'), 0644));
  auto echoed = co_await curl("49983-box1.hako.test", "/echo",
                              "--data-binary @" + upload + " -o /dev/null -w '%{size_download}'");
  EXPECT_EQ(echoed.output, std::to_string(3 << 20));
  // This machine itself may speak plainly, as the API does.
  auto plain = request("/health");
  auto plainly = co_await ask(std::move(plain));
  EXPECT_EQ(plainly.status, 204u);
}

GATE_TEST_IN(TlsGateTest, passes_what_is_for_the_api_on) {
  make_certificate("first");
  CO_ASSERT_TRUE(co_await hand_over("first", "first"));
  auto away = co_await curl("api.hako.test", "/sandboxes", "-w ' %{http_code}'");
  EXPECT_THAT(away.output, HasSubstr(" 503"));
  auto listener = rpc::listen_unix(directory_ + "/api.sock", kGateUid);
  CO_ASSERT_TRUE(listener);
  TaskGroup api(co_await asio::this_coro::executor);
  http::Handler handler = be_api;
  api.spawn("api", http::serve(std::move(listener).value(), std::move(handler)));
  auto listed = co_await curl("api.hako.test", "/sandboxes?x=1");
  EXPECT_EQ(listed.output, "api /sandboxes?x=1 https ");
  auto posted =
      co_await curl("api.hako.test", "/v2/sandboxes", "-H 'Transfer-Encoding: chunked' -d '{}'");
  EXPECT_EQ(posted.output, "api /v2/sandboxes https {}");
  // How the client came is what the gate saw, and not what the client says.
  std::string says_http = "-H 'X-Forwarded-Proto: http' -H 'X-Forwarded-Proto: gopher'";
  auto claims = co_await curl("api.hako.test", "/sandboxes", says_http);
  EXPECT_EQ(claims.output, "api /sandboxes https ");
  http::Request plainly;
  plainly.target = "/sandboxes";
  plainly.fields.set("Host", "api.hako.test");
  plainly.fields.set("X-Forwarded-Proto", "https");
  auto plain = co_await ask(std::move(plainly));
  EXPECT_EQ(plain.body, "api /sandboxes http ");
  // What names a box is for the box under whatever name it comes.
  auto box = co_await curl("api.hako.test", "/files?path=x", "-H 'E2b-Sandbox-Id: box1'");
  EXPECT_EQ(box.output, "files path=x");
  auto other = co_await curl("www.hako.test", "/sandboxes", "-w ' %{http_code}'");
  EXPECT_THAT(other.output, HasSubstr(" 400"));
  co_await api.stop();
}

GATE_TEST_IN(TlsGateTest, takes_a_new_certificate_while_it_runs) {
  make_certificate("first");
  make_certificate("second");
  CO_ASSERT_TRUE(co_await hand_over("first", "first"));
  auto mixed = co_await hand_over("second", "first");
  CO_ASSERT_TRUE(!mixed);
  EXPECT_EQ(mixed.error().code(), ErrorCode::invalid_argument);
  auto still = co_await curl("49983-box1.hako.test", "/health");
  EXPECT_EQ(still.code, 0) << still.output;
  CO_ASSERT_TRUE(co_await hand_over("second", "second"));
  auto renewed = co_await curl("49983-box1.hako.test", "/health", "", "second");
  EXPECT_EQ(renewed.code, 0) << renewed.output;
  auto former = co_await curl("49983-box1.hako.test", "/health");
  EXPECT_EQ(former.code, 60) << former.output;
}

GATE_TEST_IN(TlsGateTest, a_box_that_goes_cuts_its_streams) {
  make_certificate("first");
  CO_ASSERT_TRUE(co_await hand_over("first", "first"));
  TaskGroup group(co_await asio::this_coro::executor);
  std::string begun = directory_ + "/begun";
  auto remove = [](TestNode& node, std::string begun) -> Task<void> {
    std::error_code missing;
    while (std::filesystem::file_size(begun, missing) != 5) co_await sleep_for(2ms);
    boost::json::object body;
    body["machine"] = "m1-1";
    auto order = node.order("machine.remove", std::move(body));
    EXPECT_TRUE(co_await std::move(order));
  };
  group.spawn("remove", remove(*node_, begun));
  auto cut = co_await curl("49983-box1.hako.test", "/hang", "-N -o " + begun);
  EXPECT_NE(cut.code, 0);
  EXPECT_NE(cut.code, 28) << "cut, and not waited for in vain: " << cut.output;
  co_await group.stop();
  auto after = co_await curl("49983-box1.hako.test", "/health", "-w ' %{http_code}'");
  EXPECT_THAT(after.output, HasSubstr(" 502"));
}

GATE_TEST_IN(TlsGateTest, survives_what_is_no_handshake) {
  make_certificate("first");
  CO_ASSERT_TRUE(co_await hand_over("first", "first"));
  for (std::string rubbish :
       {std::string("\x16"), std::string("\x16\x03\x01\xff\xff") + std::string(70'000, 'x'),
        std::string("\x16\x03\x01\x00\x00\x16\x03\x01\x00\x00"), std::string("\x80\x2e\x01"),
        std::string(100, '\0')}) {
    auto stream = co_await http::connect_tcp("127.0.0.1", gate_->port(), 5s);
    CO_ASSERT_TRUE(stream);
    boost::system::error_code ignored;
    co_await asio::async_write(stream.value(), asio::buffer(rubbish),
                               asio::redirect_error(asio::use_awaitable, ignored));
  }
  auto health = co_await curl("49983-box1.hako.test", "/health", "-w '%{http_code}'");
  EXPECT_EQ(health.output, "204");
}

}  // namespace
}  // namespace hako::test
