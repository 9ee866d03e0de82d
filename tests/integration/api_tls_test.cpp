// The API behind TLS, and what it does without.
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/socket.h>

#include <boost/asio/ip/tcp.hpp>

#include <filesystem>

#include "http/server.h"
#include "support/api_lab.h"
#include "support/certificates.h"
#include "support/run_task.h"
#include "tls/client.h"

namespace hako::test {
namespace {

using http::Verb;
using namespace std::chrono_literals;

/// The current thread in a network of its own, in which 192.0.2.7 is an address of this machine;
/// to a server at 127.0.0.1 whoever comes from there is somebody else.
class OwnNetwork {
 public:
  static constexpr const char* kElsewhere = "192.0.2.7";

  OwnNetwork() : before_(open_file("/proc/thread-self/ns/net", O_RDONLY).value()) {
    if (::unshare(CLONE_NEWNET) != 0 ||
        std::system("ip link set lo up && ip address add 192.0.2.7/32 dev lo") != 0)
      throw std::runtime_error("no network of its own");
  }
  ~OwnNetwork() { (void)::setns(before_.get(), CLONE_NEWNET); }

 private:
  Fd before_;
};

class ApiTlsTest : public ::testing::Test {
 public:
  ApiTlsTest() : certificates_(folder()) {
    // The files' names say nothing: what they hold is for the node to read.
    lab_.config.api_certificate = lab_.config.api_certificate_key = "/of/the/node";
    for (const char* name : {"first", "second"})
      certificates_.issue(name, "DNS:api.test,IP:127.0.0.1");
    certificates_.self_sign("own", "DNS:api.test");
  }

  void run(Task<void> body) { run_on(lab_.loop, stopped_after(std::move(body)), 100s); }

  /// What the node finds in the files.
  void put_files(const std::string& certificate, const std::string& key) {
    json::object found;
    found["certificate"] = read_file(certificates_.certificate(certificate)).value();
    found["key"] = read_file(certificates_.key_file(key)).value();
    lab_.node.certificate = std::move(found);
  }

  /// A new connection to the API as api.test.
  Task<Result<http::Client>> connect(std::string authority) {
    tls::Client client(std::move(authority));
    HAKO_CO_TRY(auto stream, co_await http::connect_tcp("127.0.0.1", lab_.port, 5s));
    HAKO_CO_TRY(auto secure, co_await client.connect(std::move(stream), "api.test"));
    co_return http::Client(std::move(secure));
  }
  Task<Result<http::Client>> connect() { return connect(certificates_.authority()); }

  Task<unsigned> status_of(http::Client& client, std::string target, std::string body = {}) {
    http::Request request;
    request.method = body.empty() ? Verb::get : Verb::post;
    request.target = std::move(target);
    request.body = std::move(body);
    request.fields.set("X-API-KEY", lab_.key);
    auto answer = co_await client.exchange(std::move(request));
    co_return answer ? answer.value().status : 0;
  }

  /// Waits until the API has asked for its certificate once more from now on, and been answered.
  Task<bool> asked_again() {
    auto count = [this] {
      return std::count(lab_.node.calls.begin(), lab_.node.calls.end(), "api.certificate");
    };
    // Twice: a question may be on its way.
    std::function<bool()> more = [count, before = count()] { return count() >= before + 2; };
    co_return co_await ApiLab::eventually(std::move(more));
  }

  ApiLab lab_;
  Certificates certificates_;

 private:
  std::string folder() const { return lab_.config.run_dir; }
  Task<void> stopped_after(Task<void> body) {
    std::exception_ptr fault;
    try {
      co_await std::move(body);
    } catch (...) {
      fault = std::current_exception();
    }
    co_await lab_.stop();
    if (fault) std::rethrow_exception(fault);
  }
};

TEST_F(ApiTlsTest, ServesBothHere) {
  put_files("first", "first");
  auto body = [](ApiTlsTest& test, ApiLab& lab) -> Task<void> {
    co_await lab.start();
    auto client = co_await test.connect();
    CO_ASSERT_TRUE(client);
    EXPECT_EQ(co_await test.status_of(client.value(), "/v1/info"), 200u);
    EXPECT_EQ(co_await test.status_of(client.value(), "/v2/sandboxes", R"({"templateID":"base"})"),
              201u);
    EXPECT_TRUE(client.value().reusable());
    auto plain = co_await lab.ask(Verb::get, "/v2/sandboxes");
    EXPECT_EQ(plain.status, 200u) << "programs of this machine go on as they did";
    auto stranger = co_await test.connect(test.certificates_.certificate("own"));
    CO_ASSERT_TRUE(!stranger);
    EXPECT_EQ(stranger.error().code(), ErrorCode::permission_denied);
  };
  run(body(*this, lab_));
}

TEST_F(ApiTlsTest, UploadsStayBehindTls) {
  put_files("first", "first");
  auto body = [](ApiTlsTest& test, ApiLab& lab) -> Task<void> {
    co_await lab.start();
    auto made = co_await lab.ask(Verb::post, "/v3/templates", R"({"name":"app"})");
    std::string target = "/templates/" + std::string(made.body.at("templateID").as_string()) +
                         "/files/" + std::string(64, 'a');
    auto client = co_await test.connect();
    CO_ASSERT_TRUE(client);
    http::Request request;
    request.target = target;
    request.fields.set("X-API-KEY", lab.key);
    request.fields.set("Host", "api.test");
    auto link = co_await client.value().exchange(std::move(request));
    CO_ASSERT_TRUE(link);
    std::string url(json::parse(link.value().body).at("url").as_string());
    EXPECT_EQ(url.substr(0, 17), "https://api.test/") << url;
    http::Request upload;
    upload.method = Verb::put;
    upload.target = url.substr(url.find("/v1/"));
    upload.body = "content";
    auto sent = co_await client.value().exchange(std::move(upload));
    CO_ASSERT_TRUE(sent);
    EXPECT_EQ(sent.value().status, 200u);
    auto plain = co_await lab.ask(Verb::get, target);
    EXPECT_EQ(plain.body.at("url").as_string().subview(0, 7), "http://");
  };
  run(body(*this, lab_));
}

/// The first bytes of an answer to a plain request that seems to come from another machine.
Task<std::string> ask_from_elsewhere(uint16_t port) {
  using tcp = asio::ip::tcp;
  tcp::socket socket(co_await asio::this_coro::executor, tcp::v4());
  socket.bind({asio::ip::make_address(OwnNetwork::kElsewhere), 0});
  tcp::endpoint server(asio::ip::make_address("127.0.0.1"), port);
  co_await socket.async_connect(server, asio::use_awaitable);
  std::string request = "GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
  co_await asio::async_write(socket, asio::buffer(request), asio::use_awaitable);
  std::string answer;
  boost::system::error_code end;
  co_await asio::async_read(socket, asio::dynamic_buffer(answer),
                            asio::redirect_error(asio::use_awaitable, end));
  co_return answer;
}

TEST_F(ApiTlsTest, SpeaksPlainlyWithThisMachineOnly) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  OwnNetwork network;
  put_files("first", "first");
  auto body = [](ApiLab& lab) -> Task<void> {
    co_await lab.start();
    auto refused = co_await ask_from_elsewhere(lab.port);
    EXPECT_EQ(refused.substr(0, 24), "HTTP/1.1 400 Bad Request") << refused;
    EXPECT_NE(refused.find("this port speaks https"), std::string::npos) << refused;
    // Without TLS the same client is served: the wall is what refused it.
    co_await lab.stop_api();
    lab.config.api_certificate = lab.config.api_certificate_key = "";
    CO_ASSERT_TRUE(co_await lab.start_api());
    auto served = co_await ask_from_elsewhere(lab.port);
    EXPECT_EQ(served.substr(0, 15), "HTTP/1.1 200 OK") << served;
  };
  run(body(lab_));
}

TEST_F(ApiTlsTest, DoesNotListenPlainlyBeyondLoopback) {
  auto body = [](ApiLab& lab) -> Task<void> {
    lab.config.api_certificate = lab.config.api_certificate_key = "";
    lab.config.api_address = "0.0.0.0";
    lab.node.isolation = "hardware";
    lab.node.start();
    EXPECT_FALSE(co_await lab.start_api());
    CO_ASSERT_TRUE(lab.outcome && !*lab.outcome);
    EXPECT_EQ(lab.outcome->error().code(), ErrorCode::permission_denied);
    const std::string& why = lab.outcome->error().message();
    EXPECT_NE(why.find("set [api] certificate and key"), std::string::npos) << why;
    EXPECT_NE(why.find("[api] allow_plain_beyond_loopback = true"), std::string::npos) << why;
    co_await lab.stop_api();
    lab.config.allow_plain_api_beyond_loopback = true;
    EXPECT_TRUE(co_await lab.start_api());
  };
  run(body(lab_));
}

TEST_F(ApiTlsTest, BeyondLoopbackItWaitsForACertificateThatIsOfUse) {
  auto body = [](ApiTlsTest& test, ApiLab& lab) -> Task<void> {
    lab.config.api_address = "0.0.0.0";
    lab.node.isolation = "hardware";
    lab.node.certificate = Error(ErrorCode::not_found, "open /of/the/node: no such file");
    lab.node.start();
    TaskGroup starting(co_await asio::this_coro::executor);
    auto start = [](ApiLab& api) -> Task<void> { co_await api.start_api(); };
    starting.spawn("start", start(lab));
    EXPECT_TRUE(co_await test.asked_again());
    EXPECT_EQ(lab.port, 0) << "it does not listen";
    EXPECT_FALSE(lab.outcome) << "and does not end";
    test.put_files("first", "second");
    EXPECT_TRUE(co_await test.asked_again());
    EXPECT_EQ(lab.port, 0);
    test.put_files("first", "first");
    std::function<bool()> listens = [&lab] { return lab.port != 0; };
    EXPECT_TRUE(co_await ApiLab::eventually(std::move(listens)));
    auto client = co_await test.connect();
    CO_ASSERT_TRUE(client);
    EXPECT_EQ(co_await test.status_of(client.value(), "/health"), 200u);
    co_await starting.stop();
  };
  run(body(*this, lab_));
}

TEST_F(ApiTlsTest, OnLoopbackNobodyWaits) {
  lab_.node.certificate = Error(ErrorCode::not_found, "open /of/the/node: no such file");
  auto body = [](ApiTlsTest& test, ApiLab& lab) -> Task<void> {
    co_await lab.start();
    auto client = co_await test.connect();
    EXPECT_FALSE(client) << "there is no certificate to show";
    EXPECT_EQ((co_await lab.ask(Verb::get, "/health")).status, 200u);
  };
  run(body(*this, lab_));
}

class ApiReloadTest : public ApiTlsTest {
 protected:
  ApiReloadTest() {
    for (const char* name : {"first", "second"}) certificates_.self_sign(name, "DNS:api.test");
    std::string both = read_file(certificates_.certificate("first")).value() +
                       read_file(certificates_.certificate("second")).value();
    auto written = write_file_atomically(certificates_.certificate("both"), both, 0644);
    EXPECT_TRUE(written);
    put_files("first", "first");
  }

  /// Whether the API shows this certificate.
  Task<bool> shows(std::string name) {
    co_return (co_await connect(certificates_.certificate(name))).has_value();
  }

  /// Requests on connections of its own, each used a few times, until `stop_`.
  Task<void> keep_asking() {
    while (!stop_) {
      auto client = co_await connect(certificates_.certificate("both"));
      if (!client) {
        ++bad_;
        ADD_FAILURE() << client.error().message();
        continue;
      }
      for (int i = 0; i < 5; ++i) {
        unsigned status = co_await status_of(client.value(), "/v2/sandboxes");
        ++(status == 200 ? good_ : bad_);
      }
    }
  }

  Task<void> reload_under_load() {
    co_await lab_.start();
    // One that was there before, and is used again after all.
    auto old = co_await connect(certificates_.certificate("first"));
    CO_ASSERT_TRUE(old);
    TaskGroup load(co_await asio::this_coro::executor);
    for (int i = 0; i < 4; ++i) load.spawn("load", keep_asking());

    put_files("second", "first");
    EXPECT_TRUE(co_await asked_again());
    EXPECT_TRUE(co_await shows("first")) << "a pair that does not fit changes nothing";

    put_files("second", "second");
    EXPECT_TRUE(co_await asked_again());
    EXPECT_TRUE(co_await shows("second"));
    EXPECT_FALSE(co_await shows("first"));
    EXPECT_EQ(co_await status_of(old.value(), "/v2/sandboxes"), 200u) << "connections stay";

    lab_.node.certificate = Error(ErrorCode::not_found, "the files are gone");
    EXPECT_TRUE(co_await asked_again());
    EXPECT_TRUE(co_await shows("second")) << "files that are gone change nothing";

    stop_ = true;
    std::function<bool()> ended = [&load] { return load.size() == 0; };
    EXPECT_TRUE(co_await ApiLab::eventually(std::move(ended)));
    EXPECT_EQ(bad_, 0);
    EXPECT_GT(good_, 20);
    co_await load.stop();
  }

  bool stop_ = false;
  int good_ = 0, bad_ = 0;
};

TEST_F(ApiReloadTest, ANewCertificateFailsNoRequest) {
  run(reload_under_load());
}

}  // namespace
}  // namespace hako::test
