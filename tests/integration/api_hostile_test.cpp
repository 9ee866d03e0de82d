// Every endpoint against those who mean harm, or write bad clients.
#include <gtest/gtest.h>

#include "api/router.h"
#include "support/api_lab.h"
#include "support/run_task.h"

namespace hako::test {
namespace {

using http::Verb;
using namespace std::chrono_literals;

/// Every route, its parameters filled in with `id`.
std::vector<std::pair<Verb, std::string>> all_routes(const std::string& id) {
  std::vector<std::pair<Verb, std::string>> list;
  for (const api::Route& route : api::routes()) {
    std::string path(route.pattern);
    for (size_t open = path.find('{'); open != path.npos; open = path.find('{'))
      path.replace(open, path.find('}') - open + 1, id);
    list.emplace_back(route.method, path);
  }
  return list;
}

/// Sends bytes as they are and returns what comes back until the server closes.
Task<std::string> send_raw(ApiLab& lab, std::string bytes) {
  auto stream = co_await http::connect_tcp("127.0.0.1", lab.port, 5s);
  if (!stream) throw std::runtime_error(stream.error().message());
  boost::system::error_code error;
  co_await asio::async_write(stream.value(), asio::buffer(bytes),
                             asio::redirect_error(asio::use_awaitable, error));
  std::string answer;
  co_await asio::async_read(stream.value(), asio::dynamic_buffer(answer),
                            asio::redirect_error(asio::use_awaitable, error));
  co_return answer;
}

Task<void> no_body_is_too_strange(ApiLab& lab) {
  co_await lab.start();
  std::string deep = "{\"metadata\":" + std::string(5000, '[') + "}";
  std::string wide = "{\"network\":{\"rules\":{";
  for (int i = 0; i < 20'000; ++i) wide += (i ? ",\"a" : "\"a") + std::to_string(i) + ".b\":[]";
  wide += "}},\"templateID\":\"base\"}";
  const std::vector<std::string> bodies{
      "{",
      "[]",
      "null",
      "\"x\"",
      "\xff\xfe",
      deep,
      wide,
      std::string(100'000, ' '),
      R"({"timeout":1e999,"count":1e999,"name":{},"templateID":[],"network":1,"memory":3})",
      R"({"templateID":"base\u0000","timeout":true,"duration":"1","count":-1,"denyOut":{}})"};
  for (const auto& [method, path] : all_routes("inone")) {
    if (method == Verb::get || method == Verb::delete_) continue;
    for (const std::string& body : bodies) {
      // Templates are built by a node that would say so itself.
      auto reply = co_await lab.ask(method, path, body);
      EXPECT_GE(reply.status, 400u) << path << " " << body.substr(0, 60);
      EXPECT_LT(reply.status, 500u) << path << " " << body.substr(0, 60);
    }
    auto large = co_await lab.ask(method, path, std::string((1 << 20) + 1, ' '));
    EXPECT_EQ(large.status, 413u) << path;
  }
  EXPECT_TRUE(lab.node.boxes.empty());
  co_await lab.stop();
}

TEST(ApiHostile, NoBodyIsTooStrange) {
  ApiLab lab;
  run_on(lab.loop, no_body_is_too_strange(lab));
}

Task<void> no_path_or_query_is(ApiLab& lab) {
  co_await lab.start();
  for (std::string id : {"..%2f..%2fetc", "%00", "%ff", "a%20b", "%0d%0aX-Evil:%201", "i'--",
                         "%3Cscript%3E", "I0123", "%7BsandboxID%7D"}) {
    for (const auto& [method, path] : all_routes(id)) {
      if (path.find(id) == path.npos) continue;
      std::string body = method == Verb::get || method == Verb::delete_ ? "" : "{\"timeout\":1}";
      auto reply = co_await lab.ask(method, path, body);
      EXPECT_TRUE(reply.status == 404 || path.starts_with("/v1/") ||
                  path.starts_with("/templates") || path.starts_with("/secrets"))
          << path << " gave " << reply.status;
      EXPECT_EQ(reply.fields.count("X-Evil"), 0u);
    }
  }
  std::string long_value(20'000, 'a');
  for (const char* path : {"/v2/sandboxes", "/sandboxes", "/sandboxes/metrics"}) {
    const std::vector<std::string> queries{"?limit=99999999999999999999",
                                           "?limit=-1",
                                           "?nextToken=%00",
                                           "?nextToken=" + long_value,
                                           "?metadata=%25",
                                           "?metadata=" + long_value,
                                           "?startedAfter=x",
                                           "?order=up",
                                           "?state=,,,",
                                           "?sandbox_ids=" + long_value,
                                           "?=&&=%",
                                           "?%zz=1"};
    for (const std::string& query : queries) {
      auto reply = co_await lab.ask(Verb::get, path + query);
      EXPECT_LT(reply.status, 500u) << path << query.substr(0, 40);
    }
  }
  co_await lab.stop();
}

TEST(ApiHostile, NoPathOrQueryIs) {
  ApiLab lab;
  run_on(lab.loop, no_path_or_query_is(lab));
}

Task<void> no_framing_is(ApiLab& lab) {
  co_await lab.start();
  std::string head = "POST /sandboxes HTTP/1.1\r\nHost: x\r\nX-API-Key: " + lab.key + "\r\n";
  const std::pair<std::string, const char*> kCases[] = {
      {head + "Content-Length: 5\r\nContent-Length: 6\r\n\r\n{}", "400"},
      {head + "Content-Length: -1\r\n\r\n", "400"},
      {head + "Content-Length: 99999999999999999999999\r\n\r\n", "400"},
      {head + "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400"},
      {head + "Transfer-Encoding: gzip\r\n\r\n", "400"},
      {head + "Host: y\r\nContent-Length: 0\r\n\r\n", "400"},
      {head + "Transfer-Encoding: chunked\r\n\r\nzz\r\n", "400"},
      {head + "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n", "4"},
      {head + "X: " + std::string(64 << 10, 'x') + "\r\n\r\n", "431"},
      {"GET / HTTP/9.9\r\n\r\n", "400"},
      {"\x16\x03\x01\x02\x00\x01", "400"},
      {"GET http://[::1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "4"},
      {"GET /health HTTP/1.1\r\nHost: " + std::string(5000, 'a') + "\r\nConnection: close\r\n\r\n",
       ""},
      {"PATCH\t/sandboxes HTTP/1.1\r\n\r\n", "400"},
  };
  for (const auto& [bytes, status] : kCases) {
    auto answer = co_await send_raw(lab, bytes);
    EXPECT_EQ(answer.rfind(std::string("HTTP/1.1 ") + status, 0), 0u)
        << bytes.substr(0, 160) << "\ngave " << answer.substr(0, 80);
  }
  auto health = co_await lab.ask(Verb::get, "/health");
  EXPECT_EQ(health.status, 200u);
  EXPECT_TRUE(lab.node.boxes.empty());
  co_await lab.stop();
}

TEST(ApiHostile, NoFramingIs) {
  ApiLab lab;
  run_on(lab.loop, no_framing_is(lab));
}

}  // namespace
}  // namespace hako::test
