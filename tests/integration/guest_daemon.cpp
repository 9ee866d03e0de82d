#include "integration/guest_daemon.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>
#include <boost/json/serialize.hpp>

#include <filesystem>

#include "base/encoding.h"
#include "http/server.h"
#include "wire/connect.h"

namespace hako::guest {
namespace {

using Headers = std::vector<std::pair<std::string, std::string>>;

Task<bool> exchange(http::Client& client, http::Request request, Reply& reply) {
  auto response = co_await client.exchange(std::move(request), 256 << 20);
  if (!response) throw std::runtime_error(response.error().message());
  reply = {response.value().status, std::move(response.value().fields),
           std::move(response.value().body)};
  co_return true;
}

}  // namespace

std::string StreamOutcome::output(wire::OutputStream stream) const {
  std::string bytes;
  for (const auto& event : events)
    if (event.kind == wire::ProcessEvent::Kind::data && event.stream == stream)
      bytes += event.bytes;
  return bytes;
}

wire::ProcessEnd StreamOutcome::ended() const {
  if (events.empty() || events.back().kind != wire::ProcessEvent::Kind::end) {
    ADD_FAILURE() << "no end event; status " << status << ", "
                  << (end ? "ended well" : end.error().message());
    return {};
  }
  return events.back().end;
}

void GuestDaemonTest::SetUp() {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root, to become other users";
  char name[] = "/tmp/hako-guest-test-XXXXXX";
  folder_ = ::mkdtemp(name);
  std::filesystem::permissions(folder_, std::filesystem::perms(0755));
  // Somebody else may take the port in between; then the daemon ends and another is tried.
  for (int attempt = 0; attempt < 10; ++attempt) {
    auto listener = http::listen_tcp("127.0.0.1", 0);
    ASSERT_TRUE(listener);
    auto relay = http::listen_tcp("127.0.0.1", 0);
    ASSERT_TRUE(relay);
    port_ = http::local_port(listener.value());
    relay_port_ = http::local_port(relay.value());
    listener.value().reset();
    relay.value().reset();
    ProcessSpec spec;
    spec.path = HAKO_GUEST_PROGRAM;
    spec.argv = {"hako-guest", "--listen", "127.0.0.1:" + std::to_string(port_), "--relay",
                 std::to_string(relay_port_)};
    for (const auto& option : options()) spec.argv.push_back(option);
    spec.fds = {{2, 2}};
    auto started = spawn(io_.get_executor(), spec);
    ASSERT_TRUE(started) << started.error().message();
    daemon_.emplace(std::move(started.value()));
    while (!daemon_->ended()) {
      auto connected = run(http::connect_tcp("127.0.0.1", port_, std::chrono::seconds(1)));
      if (connected) {
        auto reply = init({{"defaultUser", "root"}, {"defaultWorkdir", folder_}});
        ASSERT_EQ(reply.status, 204u) << reply.body;
        return;
      }
    }
  }
  FAIL() << "the daemon does not start";
}

void GuestDaemonTest::TearDown() {
  if (daemon_) {
    // Ending as told, rather than by a fault of its own before, is part of every test.
    EXPECT_FALSE(daemon_->ended());
    daemon_->send_signal(SIGTERM);
    auto status = run(daemon_->wait());
    EXPECT_EQ(status.code, 0) << status.describe();
  }
  if (!folder_.empty()) std::filesystem::remove_all(folder_);
}

Task<http::Client> GuestDaemonTest::connect() {
  auto stream = co_await http::connect_tcp("127.0.0.1", port_, std::chrono::seconds(5));
  if (!stream) throw std::runtime_error(stream.error().message());
  co_return http::Client(std::move(stream.value()));
}

Reply GuestDaemonTest::request(http::Verb method, std::string target, std::string body,
                               Headers headers) {
  http::Request request;
  request.method = method;
  request.target = std::move(target);
  request.body = std::move(body);
  request.fields.set(http::Field::host, "127.0.0.1");
  for (const auto& [name, value] : headers) request.fields.set(name, value);
  auto client = run(connect());
  Reply reply;
  run(exchange(client, std::move(request), reply));
  return reply;
}

Reply GuestDaemonTest::unary(std::string_view method, std::string body, Headers headers) {
  headers.emplace_back("Content-Type", "application/json");
  return request(http::Verb::post, "/" + std::string(method), std::move(body), std::move(headers));
}

http::Request GuestDaemonTest::stream_request(std::string_view method, std::string_view message) {
  http::Request request;
  request.method = http::Verb::post;
  request.target = "/" + std::string(method);
  request.fields.set(http::Field::host, "127.0.0.1");
  request.fields.set(http::Field::content_type, wire::kConnectStreamType);
  size_t start = wire::begin_frame(request.body);
  request.body += message;
  wire::end_frame(request.body, start);
  return request;
}

Task<StreamOutcome> GuestDaemonTest::read_stream(http::Client& client, unsigned status,
                                                 std::string already) {
  StreamOutcome outcome;
  outcome.status = status;
  wire::FrameDecoder decoder(1 << 20);
  decoder.feed(already);
  std::vector<char> buffer(256 << 10);
  for (;;) {
    auto n = co_await client.read_some(asio::buffer(buffer));
    if (!n) {
      outcome.end = std::move(n).error();
      break;
    }
    if (n.value() == 0) break;
    decoder.feed({buffer.data(), n.value()});
    for (;;) {
      auto frame = decoder.next();
      if (!frame) throw std::runtime_error(frame.error().message());
      if (!frame.value()) break;
      if (frame.value()->is_end()) {
        outcome.end = wire::parse_end_frame(frame.value()->payload);
        continue;
      }
      auto event = wire::parse_process_event(frame.value()->payload);
      if (!event) throw std::runtime_error(event.error().message());
      outcome.events.push_back(std::move(event.value()));
    }
  }
  co_return outcome;
}

StreamOutcome GuestDaemonTest::stream(std::string_view method, std::string message,
                                      Headers headers) {
  auto request = stream_request(method, message);
  for (const auto& [name, value] : headers) request.fields.set(name, value);
  auto call = [](http::Client& client, http::Request request) -> Task<StreamOutcome> {
    auto head = co_await client.start(std::move(request));
    if (!head) throw std::runtime_error(head.error().message());
    co_return co_await read_stream(client, head.value().status);
  };
  auto client = run(connect());
  return run(call(client, std::move(request)));
}

StreamOutcome GuestDaemonTest::shell(const std::string& script) {
  wire::StartRequest request;
  request.process = {"sh", {"-c", script}, {}, {}};
  return stream("process.Process/Start", boost::json::serialize(wire::to_json(request)));
}

std::pair<std::string, std::string> GuestDaemonTest::as_user(const std::string& name) {
  return {"Authorization", "Basic " + base64_encode(name + ":")};
}

Reply GuestDaemonTest::init(boost::json::object members) {
  members.emplace("generation", 1);
  return request(http::Verb::post, "/init", boost::json::serialize(members));
}

}  // namespace hako::guest
