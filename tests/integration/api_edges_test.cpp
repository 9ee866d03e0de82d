// The API's other sides: its key files, and requests that are for the gate.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>

#include "http/server.h"
#include "support/api_lab.h"
#include "support/run_task.h"

namespace hako::test {
namespace {

using http::Verb;
using namespace std::chrono_literals;

struct stat stat_of(const std::string& path) {
  struct stat info {};
  EXPECT_EQ(::stat(path.c_str(), &info), 0) << path;
  return info;
}

TEST(ApiState, IsOwnedByThoseWhoNeedIt) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  ApiLab lab;
  ASSERT_TRUE(api::prepare_api_state(lab.config));
  auto state = stat_of(lab.config.state_dir);
  EXPECT_EQ(state.st_uid, 0u);
  EXPECT_EQ(state.st_mode & 0022, 0u);
  auto own = stat_of(lab.config.state_dir + "/api");
  EXPECT_EQ(own.st_uid, lab.config.api_uid);
  EXPECT_EQ(own.st_mode & 0777, 0700u);
  auto key = stat_of(lab.config.key_file());
  EXPECT_EQ(key.st_uid, 0u);
  EXPECT_EQ(key.st_mode & 0777, 0600u);
  auto hash = stat_of(api::key_hash_file(lab.config));
  EXPECT_EQ(hash.st_uid, 0u);
  EXPECT_EQ(hash.st_gid, lab.config.api_uid);
  EXPECT_EQ(hash.st_mode & 0777, 0640u);
}

TEST(ApiState, TheKeyStaysUntilItsFileIsRemoved) {
  ApiLab lab;
  ASSERT_TRUE(api::prepare_api_state(lab.config));
  std::string first = read_file(lab.config.key_file()).value();
  std::string hash = api::read_key_hash(lab.config).value();
  EXPECT_EQ(hash, api::hash_api_key(first.substr(0, first.size() - 1)));
  EXPECT_EQ(hash.find(first.substr(4, 20)), std::string::npos);
  ASSERT_TRUE(api::prepare_api_state(lab.config));
  EXPECT_EQ(read_file(lab.config.key_file()).value(), first);
  std::filesystem::remove(lab.config.key_file());
  ASSERT_TRUE(api::prepare_api_state(lab.config));
  EXPECT_NE(read_file(lab.config.key_file()).value(), first);
  EXPECT_NE(api::read_key_hash(lab.config).value(), hash);
}

TEST(ApiState, ALinkInPlaceOfTheDirectoryIsNotFollowed) {
  ApiLab lab;
  std::string elsewhere = lab.config.run_dir + "/elsewhere";
  std::filesystem::create_directories(lab.config.state_dir);
  std::filesystem::create_directory(elsewhere);
  auto before = stat_of(elsewhere);
  std::filesystem::create_directory_symlink(elsewhere, lab.config.state_dir + "/api");
  EXPECT_FALSE(api::prepare_api_state(lab.config));
  EXPECT_EQ(stat_of(elsewhere).st_uid, before.st_uid);
}

TEST(ApiState, AKeyFileWithoutAKeyIsSaid) {
  ApiLab lab;
  std::filesystem::create_directories(lab.config.state_dir);
  ASSERT_TRUE(write_file_atomically(lab.config.key_file(), "hello\n", 0600));
  auto prepared = api::prepare_api_state(lab.config);
  ASSERT_FALSE(prepared);
  EXPECT_NE(prepared.error().message().find("remove it to have a new one made"), std::string::npos);
}

/// Answers with the path and what it was sent, as a gate would with what a guest says.
Task<void> echo(http::Exchange& exchange) {
  auto body = co_await exchange.read_body(1 << 20);
  json::object reply;
  reply["target"] = exchange.head().target;
  reply["box"] = std::string(exchange.head().header("E2b-Sandbox-Id"));
  reply["key"] = std::string(exchange.head().header("X-API-KEY"));
  reply["token"] = std::string(exchange.head().header("X-Access-Token"));
  reply["body"] = body ? body.value() : "";
  auto response = http::Response::json(200, reply);
  (void)co_await exchange.respond(std::move(response));
}

Task<json::object> ask_box(ApiLab& lab, std::string box, Verb method, std::string target,
                           std::string body) {
  auto stream = co_await http::connect_tcp("127.0.0.1", lab.port, 5s);
  if (!stream) throw std::runtime_error(stream.error().message());
  http::Client client(std::move(stream.value()));
  http::Request request;
  request.method = method;
  request.target = std::move(target);
  request.fields.set(http::Field::host, "127.0.0.1:3000");
  request.fields.set("E2b-Sandbox-Id", box);
  request.fields.set("X-API-KEY", lab.key);
  request.body = std::move(body);
  auto response = co_await with_deadline(10s, client.exchange(std::move(request)));
  if (!response) throw std::runtime_error(response.error().message());
  json::object reply = json::parse(response.value().body).as_object();
  reply["status"] = response.value().status;
  co_return reply;
}

Task<void> relays_to_the_gate(ApiLab& lab) {
  auto listener = http::listen_tcp("127.0.0.1", 0);
  CO_ASSERT_TRUE(listener);
  lab.config.gate_port = http::local_port(listener.value());
  auto gate = std::make_unique<TaskGroup>(lab.loop.get_executor());
  http::Handler handler = echo;
  gate->spawn("gate", http::serve(std::move(listener.value()), std::move(handler)));
  co_await lab.start();
  auto made = co_await lab.ask(Verb::post, "/v2/sandboxes", R"({"templateID":"base"})");
  std::string box(made.body.at("sandboxID").as_string());
  auto unknown = co_await ask_box(lab, "inone", Verb::get, "/files", "");
  EXPECT_EQ(unknown.at("status"), 404);
  for (int round = 0; round < 3; ++round) {
    auto posted = co_await ask_box(lab, box, Verb::post, "/process.Process/Start?x=1", "hello");
    EXPECT_EQ(posted.at("target"), "/process.Process/Start?x=1");
    EXPECT_EQ(posted.at("box"), json::value(box));
    EXPECT_EQ(posted.at("token"), made.body.at("envdAccessToken"));
    EXPECT_EQ(posted.at("body"), "hello");
    EXPECT_EQ(posted.at("key"), "");
    auto health = co_await ask_box(lab, box, Verb::get, "/health", "");
    EXPECT_EQ(health.at("target"), "/health");
  }
  co_await gate->stop();
  auto away = co_await ask_box(lab, box, Verb::get, "/health", "");
  EXPECT_EQ(away.at("status"), 503);

  // And back again, on the same port.
  auto again = http::listen_tcp("127.0.0.1", lab.config.gate_port);
  CO_ASSERT_TRUE(again);
  gate = std::make_unique<TaskGroup>(lab.loop.get_executor());
  http::Handler once_more = echo;
  gate->spawn("gate", http::serve(std::move(again.value()), std::move(once_more)));
  auto posted = co_await ask_box(lab, box, Verb::post, "/files", "x");
  EXPECT_EQ(posted.at("body"), "x");
  co_await gate->stop();
  co_await lab.stop();
}

TEST(DataPlane, IsRelayedToTheGate) {
  ApiLab lab;
  run_on(lab.loop, relays_to_the_gate(lab));
}

}  // namespace
}  // namespace hako::test
