// A TLS server may ask its client to begin again (HelloRetryRequest), and goes by the name in what
// is said then. That name must be the right one, too.
#include <gmock/gmock.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <memory>
#include <mutex>
#include <thread>

#include "http/server.h"
#include "support/gate_lab_egress.h"

namespace hako::test {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr uint16_t kOnlyTls = 9443;   ///< a port for TLS, by the policy
constexpr uint16_t kAnything = 9444;  ///< another one
constexpr uint8_t kHandshake = 22, kClientHello = 1, kServerHello = 2;

using Context = std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)>;
using Ssl = std::unique_ptr<SSL, decltype(&SSL_free)>;

Context server_context(const std::string& certificate, const std::string& key) {
  Context context(SSL_CTX_new(TLS_server_method()), SSL_CTX_free);
  SSL_CTX_use_certificate_file(context.get(), certificate.c_str(), SSL_FILETYPE_PEM);
  SSL_CTX_use_PrivateKey_file(context.get(), key.c_str(), SSL_FILETYPE_PEM);
  SSL_CTX_set1_groups_list(context.get(), "P-384");
  return context;
}

/// Its first hello has a key for X25519 only.
Context client_context() {
  Context context(SSL_CTX_new(TLS_client_method()), SSL_CTX_free);
  SSL_CTX_set1_groups_list(context.get(), "X25519:P-384");
  return context;
}

bool is_message(int type, const void* bytes, size_t size, uint8_t wanted) {
  return type == kHandshake && size > 0 && *static_cast<const uint8_t*>(bytes) == wanted;
}

/// OpenSSL in the world, which takes keys for P-384 only, so that clients have to begin again. Says
/// whom a connection is for, and then what it is told. One connection at a time.
class RetryServer {
 public:
  RetryServer(const World& world, const std::string& directory)
      : context_(server_context(directory + "/world.pem", directory + "/world.key")),
        stop_(::eventfd(0, EFD_CLOEXEC)) {
    for (uint16_t port : {kOnlyTls, kAnything})
      listeners_.push_back(
          world.inside([port] { return http::listen_tcp("0.0.0.0", port); }).value());
    SSL_CTX_set_msg_callback(context_.get(), &RetryServer::note);
    SSL_CTX_set_msg_callback_arg(context_.get(), this);
    thread_ = std::thread([this] { serve(); });
  }
  ~RetryServer() {
    ::eventfd_write(stop_.get(), 1);
    thread_.join();
  }
  RetryServer(const RetryServer&) = delete;

  /// The hellos that it has got since the last time, one behind the other.
  std::string take_hellos(int& count) {
    std::lock_guard lock(mutex_);
    count = std::exchange(count_, 0);
    return std::exchange(hellos_, {});
  }

 private:
  static void note(int written, int, int type, const void* bytes, size_t size, SSL*, void* self) {
    if (written || !is_message(type, bytes, size, kClientHello)) return;
    auto& server = *static_cast<RetryServer*>(self);
    std::lock_guard lock(server.mutex_);
    ++server.count_;
    server.hellos_.append(static_cast<const char*>(bytes), size);
  }

  void serve() {
    for (;;) {
      std::vector<pollfd> waiting{{stop_.get(), POLLIN, 0}};
      for (const auto& listener : listeners_) waiting.push_back({listener.get(), POLLIN, 0});
      ::poll(waiting.data(), waiting.size(), -1);
      if (waiting[0].revents) return;
      for (size_t i = 1; i < waiting.size(); ++i)
        if (waiting[i].revents) talk(Fd(::accept4(waiting[i].fd, nullptr, nullptr, SOCK_CLOEXEC)));
    }
  }

  void talk(Fd client) {
    timeval limit{12, 0};
    ::setsockopt(client.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    Ssl ssl(SSL_new(context_.get()), SSL_free);
    SSL_set_fd(ssl.get(), client.get());
    if (SSL_accept(ssl.get()) != 1) return;
    const char* name = SSL_get_servername(ssl.get(), TLSEXT_NAMETYPE_host_name);
    std::string said = "for " + std::string(name ? name : "nobody") + "\n";
    SSL_write(ssl.get(), said.data(), static_cast<int>(said.size()));
    char buffer[4096];
    for (int size; (size = SSL_read(ssl.get(), buffer, sizeof buffer)) > 0;)
      SSL_write(ssl.get(), buffer, size);
  }

  Context context_;
  Fd stop_;
  std::vector<Fd> listeners_;
  std::mutex mutex_;
  std::string hellos_;
  int count_ = 0;
  std::thread thread_;
};

/// What a client says that names `first`, and then `second` when it is asked to begin again.
struct Hellos {
  std::string first, second;
};

/// One end of a conversation that is held in memory.
Ssl endpoint(const Context& context) {
  Ssl ssl(SSL_new(context.get()), SSL_free);
  SSL_set_bio(ssl.get(), BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
  return ssl;
}

std::string said_by(const Ssl& ssl) {
  std::string bytes(64 << 10, '\0');
  int size = BIO_read(SSL_get_wbio(ssl.get()), bytes.data(), static_cast<int>(bytes.size()));
  bytes.resize(static_cast<size_t>(std::max(size, 0)));
  return bytes;
}

void tell(const Ssl& ssl, const std::string& bytes) {
  BIO_write(SSL_get_rbio(ssl.get()), bytes.data(), static_cast<int>(bytes.size()));
}

class EgressRetryTest : public EgressTest {
 protected:
  void SetUp() override {
    // OpenSSL may send an alert to somebody who has gone.
    old_sigpipe_ = ::signal(SIGPIPE, SIG_IGN);
    EgressTest::SetUp();
    if (world_) server_.emplace(*world_, directory_);
  }
  void TearDown() override {
    server_.reset();
    EgressTest::TearDown();
    ::signal(SIGPIPE, old_sigpipe_);
  }

  Task<std::string> allow_web() {
    auto policy = allow("web.example");
    policy.tls_ports.insert(kOnlyTls);
    co_await set_policy(policy);
    co_return co_await lookup("web.example");
  }

  /// A real client's whole conversation: what it was told, and "<reset>" behind it if that was how
  /// it ended.
  Task<std::string> converse(std::string address, uint16_t port, std::string first,
                             std::string second) {
    auto work = [&]() -> std::string {
      Fd socket = guest_->socket(SOCK_STREAM);
      if (guest_->connect(socket, address, port) != 0) return "<no connection>";
      Context context = client_context();
      Ssl ssl(SSL_new(context.get()), SSL_free);
      SSL_set_fd(ssl.get(), socket.get());
      SSL_set_tlsext_host_name(ssl.get(), first.c_str());
      SSL_set_msg_callback(ssl.get(), &EgressRetryTest::change_name);
      SSL_set_msg_callback_arg(ssl.get(), second.data());
      std::string told;
      errno = 0;
      if (SSL_connect(ssl.get()) != 1) return errno == ECONNRESET ? "<reset>" : "<no handshake>";
      SSL_write(ssl.get(), "ping", 4);
      while (!told.ends_with("ping")) {
        char buffer[4096];
        int size = SSL_read(ssl.get(), buffer, sizeof buffer);
        if (size <= 0) return told + "<no more>";
        told.append(buffer, static_cast<size_t>(size));
      }
      SSL_shutdown(ssl.get());
      return told;
    };
    co_return co_await run_blocking(pool_, work);
  }

  /// As OpenSSL says it.
  Hellos hellos(const std::string& first, const std::string& second) const {
    Context servers = server_context(directory_ + "/world.pem", directory_ + "/world.key");
    Context clients = client_context();
    Ssl server = endpoint(servers);
    Ssl client = endpoint(clients);
    Hellos hellos;
    SSL_set_tlsext_host_name(client.get(), first.c_str());
    SSL_connect(client.get());
    hellos.first = said_by(client);
    tell(server, hellos.first);
    SSL_accept(server.get());
    tell(client, said_by(server));
    SSL_set_tlsext_host_name(client.get(), second.c_str());
    SSL_connect(client.get());
    hellos.second = said_by(client);
    return hellos;
  }

  /// What comes of a second hello for somebody else, said at once and said when it is asked for.
  Task<std::string> say_other(std::string address, uint16_t port, bool at_once) {
    auto said = hellos("web.example", "evil.example");
    EXPECT_THAT(said.second, HasSubstr("evil.example"));
    auto stream = co_await connect(address, port);
    if (at_once) {
      co_await send(stream, said.first + said.second);
    } else {
      co_await send(stream, said.first);
      auto retry = co_await receive(stream, 6);
      EXPECT_EQ(retry[5], kServerHello);
      co_await send(stream, said.second);
    }
    co_return co_await rest_of(stream);
  }

  std::optional<RetryServer> server_;

 private:
  /// Whatever a server says to a hello.
  static void change_name(int written, int, int type, const void* bytes, size_t size, SSL* ssl,
                          void* name) {
    if (!written && is_message(type, bytes, size, kServerHello))
      SSL_set_tlsext_host_name(ssl, static_cast<const char*>(name));
  }

  sighandler_t old_sigpipe_ = SIG_DFL;
};

EGRESS_TEST_IN(EgressRetryTest, the_right_name_passes_again) {
  std::string address = co_await allow_web();
  int count = 0;
  for (uint16_t port : {kOnlyTls, kAnything}) {
    auto told = co_await converse(address, port, "web.example", "web.example");
    EXPECT_EQ(told, "for web.example\nping") << port;
    server_->take_hellos(count);
    EXPECT_EQ(count, 2) << port;
    std::string command =
        "(echo ping; sleep 2) | timeout 8 openssl s_client -quiet "
        "-no_ign_eof -servername web.example -connect " +
        address + ":" + std::to_string(port);
    auto again = co_await run_in_guest(command + " -groups X25519:P-384");
    EXPECT_THAT(again.output, HasSubstr("for web.example\nping\n")) << port;
    server_->take_hellos(count);
    EXPECT_EQ(count, 2) << port;
    for (std::string options : {" -groups P-384", " -tls1_2"}) {
      auto once = co_await run_in_guest(command + options);
      EXPECT_THAT(once.output, HasSubstr("for web.example\nping\n")) << port << options;
      server_->take_hellos(count);
      EXPECT_EQ(count, 1) << port << options;
    }
  }
  auto ended = co_await record(R"({"verdict":"ended","port":9443})");
  EXPECT_GT(ended.at("bytes_in").to_number<int>(), 500);
}

EGRESS_TEST_IN(EgressRetryTest, another_name_does_not_pass_in_the_second_hello) {
  std::string address = co_await allow_web();
  int count = 0;
  for (uint16_t port : {kOnlyTls, kAnything}) {
    auto told = co_await converse(address, port, "web.example", "evil.example");
    EXPECT_EQ(told, "<reset>") << port;
    for (bool at_once : {false, true}) {
      auto raw = co_await say_other(address, port, at_once);
      EXPECT_THAT(raw, HasSubstr("<reset>")) << port << at_once;
    }
    auto denied =
        co_await record(R"({"verdict":"denied","rule":"egress.sni","name":"web.example","port":)" +
                        std::to_string(port) +
                        R"(,"reason":"TLS for \"evil.example\" on a connection to web.example"})");
    EXPECT_FALSE(denied.empty());
    EXPECT_THAT(server_->take_hellos(count), Not(HasSubstr("evil.example"))) << port;
    EXPECT_EQ(count, 3) << port;
  }
}

EGRESS_TEST_IN(EgressRetryTest, whoever_begins_again_and_does_not_say_for_whom_is_not_waited_for) {
  std::string address = co_await allow_web();
  auto said = hellos("web.example", "web.example");
  auto stream = co_await connect(address, kAnything);
  co_await send(stream, said.first);
  auto retry = co_await receive(stream, 6);
  co_await send(stream, said.second.substr(0, 100));
  auto end = co_await rest_of(stream, 22s);
  EXPECT_THAT(end, HasSubstr("<reset>"));
  co_await record(R"({"rule":"egress.sni","reason":"the client did not say for whom in time"})");
}

EGRESS_TEST_IN(EgressRetryTest, tls_does_not_begin_after_the_server_has_spoken) {
  std::string address = co_await allow_web();
  auto stream = co_await connect(address, World::kGreeting);
  EXPECT_EQ(co_await receive(stream, 6), "hello\n");
  auto said = hellos("web.example", "web.example");
  co_await send(stream, said.first);
  EXPECT_EQ(co_await rest_of(stream), "<reset>");
  co_await record(R"({"rule":"egress.sni","reason":"TLS after the server has spoken"})");
}

class EgressRetryWithoutWallTest : public EgressRetryTest {
 protected:
  std::string gate_program() const override { return HAKO_GATE_TEST_PROGRAM; }
  std::vector<std::string> gate_environment() const override {
    return {"HAKO_TEST_WITHOUT_WALL=sni"};
  }
};

EGRESS_TEST_IN(EgressRetryWithoutWallTest, another_name_passes) {
  std::string address = co_await allow_web();
  int count = 0;
  for (uint16_t port : {kOnlyTls, kAnything}) {
    auto told = co_await converse(address, port, "web.example", "evil.example");
    EXPECT_EQ(told, "for evil.example\nping") << port;
    for (bool at_once : {false, true}) {
      server_->take_hellos(count);
      co_await say_other(address, port, at_once);
      EXPECT_THAT(server_->take_hellos(count), HasSubstr("evil.example")) << port << at_once;
    }
  }
}

}  // namespace
}  // namespace hako::test
