// More of nobody's calls than the API works on at a time.
#include <sqlite3.h>

#include "support/api_fixture.h"

namespace hako::test {
namespace {

using http::Verb;
using namespace std::chrono_literals;

class ApiOverloadTest : public ApiFixture {
 protected:
  ApiOverloadTest() : ApiFixture(100s) {}
};

Task<http::Stream> send_head(ApiLab& lab, std::string head) {
  auto stream = co_await http::connect_tcp("127.0.0.1", lab.port, 5s);
  if (!stream) throw std::runtime_error(stream.error().message());
  co_await asio::async_write(stream.value(), asio::buffer(head), asio::use_awaitable);
  co_return std::move(stream).value();
}

/// What has come, up to the end of a head at least.
Task<std::string> read_answer(http::Stream& stream) {
  std::string answer;
  char buffer[4096];
  boost::system::error_code error;
  while (answer.find("\r\n\r\n") == std::string::npos && !error) {
    size_t n = co_await stream.async_read_some(asio::buffer(buffer),
                                               asio::redirect_error(asio::use_awaitable, error));
    answer.append(buffer, n);
  }
  co_return answer;
}

TEST_F(ApiOverloadTest, CallsWithoutAKeyLeaveRoomForThoseWithOne) {
  with_api([](ApiLab& lab) -> Task<void> {
    // Each waits for a body that does not come.
    std::string head = "GET /health HTTP/1.1\r\nHost: api\r\nContent-Length: 5\r\n\r\n";
    std::vector<http::Stream> held;
    while (held.size() < 64) held.push_back(co_await send_head(lab, head));
    Reply refused = co_await lab.ask_with_key(Verb::get, "/health", "", "");
    EXPECT_EQ(refused.status, 503u);
    EXPECT_EQ(refused.fields["Retry-After"], "1");
    EXPECT_EQ((co_await lab.ask(Verb::get, "/v2/sandboxes")).status, 200u);
    // They are told, and then there is room again.
    EXPECT_TRUE((co_await read_answer(held.front())).starts_with("HTTP/1.1 408"));
    held.clear();
    bool again = co_await lab.eventually_status("/health", 200);
    EXPECT_TRUE(again);
  });
}

TEST_F(ApiOverloadTest, KeysThatWaitToBeLookedUpAreBounded) {
  with_api([](ApiLab& lab) -> Task<void> {
    // The store waits for somebody else's lock, and everybody for the store.
    sqlite3* database = nullptr;
    EXPECT_EQ(sqlite3_open(lab.config.database().c_str(), &database), SQLITE_OK);
    auto run = [database](const char* sql) {
      EXPECT_EQ(sqlite3_exec(database, sql, nullptr, nullptr, nullptr), SQLITE_OK) << sql;
    };
    run("BEGIN IMMEDIATE");
    std::string key = "\r\nHost: api\r\nX-API-KEY: " + lab.key + "\r\n";
    std::string body = R"({"name":"acme"})";
    auto writer = co_await send_head(lab, "POST /v1/tenants HTTP/1.1" + key + "Content-Length: " +
                                              std::to_string(body.size()) + "\r\n\r\n" + body);
    co_await sleep_for(100ms);
    std::vector<http::Stream> waiting;
    while (waiting.size() < 700) {
      waiting.push_back(co_await send_head(lab, "GET /v2/sandboxes HTTP/1.1" + key + "\r\n"));
    }
    Reply refused = co_await lab.ask(Verb::get, "/v2/sandboxes");
    EXPECT_EQ(refused.status, 503u);
    EXPECT_EQ(refused.fields["Retry-After"], "1");
    run("COMMIT");
    sqlite3_close(database);
    EXPECT_TRUE((co_await read_answer(writer)).starts_with("HTTP/1.1 201"));
    size_t served = 0, too_many = 0, turned_away = 0;
    for (auto& stream : waiting) {
      std::string answer = co_await read_answer(stream);
      served += answer.starts_with("HTTP/1.1 200");
      too_many += answer.starts_with("HTTP/1.1 429");  // of one tenant
      turned_away += answer.starts_with("HTTP/1.1 503");
    }
    EXPECT_EQ(served + too_many + turned_away, waiting.size());
    EXPECT_GE(served, 300u);  // a tenant has 64 and 256
    EXPECT_GE(turned_away, 100u);
    EXPECT_EQ((co_await lab.ask(Verb::get, "/v2/sandboxes")).status, 200u);
  });
}

TEST_F(ApiOverloadTest, AFullNodeIsToldAsSuch) {
  with_api([](ApiLab& lab) -> Task<void> {
    lab.node.before = [](const std::string& method,
                         const json::object&) -> std::optional<FakeNode::Answer> {
      if (method != "box.create") return std::nullopt;
      return FakeNode::Answer(Error(ErrorCode::no_capacity, "only 7 MiB are free"));
    };
    Reply refused = co_await lab.ask(Verb::post, "/v2/sandboxes", R"({"templateID":"base"})");
    EXPECT_EQ(refused.status, 503u);
    EXPECT_EQ(refused.message(), "only 7 MiB are free");
    EXPECT_EQ(refused.body.at("error_code"), "sandbox_capacity_unavailable");
    EXPECT_EQ(refused.fields["Retry-After"], "10");
    lab.node.before = nullptr;
    EXPECT_EQ((co_await lab.ask(Verb::get, "/v2/sandboxes")).body.as_array().size(), 0u);
    (void)co_await lab.create();
  });
}

}  // namespace
}  // namespace hako::test
