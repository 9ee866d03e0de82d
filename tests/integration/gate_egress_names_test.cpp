// What a program says on a connection must agree with the name that allowed it.
#include <gmock/gmock.h>

#include "support/gate_lab_egress.h"

namespace hako::test {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

std::string get(const std::string& host, const std::string& path = "/x") {
  return "GET " + path + " HTTP/1.1\r\nHost: " + host + "\r\n\r\n";
}

std::string get_and_close(const std::string& host, const std::string& path = "/x") {
  return "GET " + path + " HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n\r\n";
}

void append_u16(std::string& out, size_t value) {
  out.push_back(static_cast<char>(value >> 8));
  out.push_back(static_cast<char>(value));
}

/// A ClientHello of TLS 1.2 form, with these extensions.
std::string client_hello(const std::string& extensions) {
  std::string body = "\x03\x03" + std::string(32, 'r') + std::string(1, '\0');
  body += std::string("\0\x02\x13\x01\x01\0", 6);
  append_u16(body, extensions.size());
  body += extensions;
  std::string message = std::string("\x01\0", 2);
  append_u16(message, body.size());
  message += body;
  std::string record = "\x16\x03\x01";
  append_u16(record, message.size());
  return record + message;
}

std::string server_name(const std::string& name) {
  std::string extension("\0\0", 2);
  append_u16(extension, name.size() + 5);
  append_u16(extension, name.size() + 3);
  extension += '\0';
  append_u16(extension, name.size());
  return extension + name;
}

std::string encrypted_hello() {
  std::string extension("\xfe\x0d", 2);
  append_u16(extension, 10);
  return extension + std::string(10, 'e');
}

class EgressNamesTest : public EgressTest {
 protected:
  /// curl in the guest for `url`, whose host is `said`, over the address of `name`.
  Task<Ran> curl(std::string name, std::string said, uint16_t port, std::string url,
                 std::string options = {}) {
    std::string address = co_await lookup(name);
    std::string command = "curl -sSk --max-time 8 --noproxy '*' --resolve " + said + ":" +
                          std::to_string(port) + ":" + address + " " + options + " " + url;
    co_return co_await run_in_guest(std::move(command));
  }
};

EGRESS_TEST_IN(EgressNamesTest, tls_passes_for_the_right_name_only) {
  co_await set_policy(allow("web.example *.sub.example"));
  world_->names["a.sub.example"] = {World::kWeb};
  auto right = co_await curl("web.example", "web.example", 443, "https://web.example/x");
  EXPECT_EQ(right.output, "web web.example /x 0");
  auto below = co_await curl("a.sub.example", "a.sub.example", 443, "https://a.sub.example/x");
  EXPECT_EQ(below.output, "web a.sub.example /x 0");
  world_->requests.clear();
  // Both names are allowed and live at one address; still each connection is for its own.
  auto fronted = co_await curl("web.example", "a.sub.example", 443, "https://a.sub.example/x");
  EXPECT_NE(fronted.code, 0);
  EXPECT_THAT(fronted.output, HasSubstr("reset"));
  auto other = co_await curl("web.example", "evil.example", 443, "https://evil.example/x");
  EXPECT_NE(other.code, 0);
  auto reason = co_await record(
      R"({"verdict":"denied","rule":"egress.sni","name":"web.example","port":443,)"
      R"("reason":"TLS for \"evil.example\" on a connection to web.example"})");
  EXPECT_EQ(reason.at("count"), 1);
  EXPECT_TRUE(world_->requests.empty());
}

EGRESS_TEST_IN(EgressNamesTest, tls_without_a_name_or_with_a_hidden_one_does_not_pass) {
  co_await set_policy(allow("web.example"));
  std::string address = co_await lookup("web.example");
  int before = world_->connections;
  auto nameless = co_await run_in_guest("timeout 5 openssl s_client -noservername -connect " +
                                        address + ":443 </dev/null");
  EXPECT_THAT(nameless.output, Not(HasSubstr("BEGIN CERTIFICATE")));
  auto named = co_await run_in_guest(
      "timeout 5 openssl s_client -servername web.example -connect " + address + ":443 </dev/null");
  EXPECT_THAT(named.output, HasSubstr("BEGIN CERTIFICATE"));
  for (uint16_t port : {World::kHttps, World::kPlainTls}) {
    auto hidden =
        co_await talk(address, port, client_hello(server_name("web.example") + encrypted_hello()));
    EXPECT_EQ(hidden, "<reset>") << port;
    auto none = co_await talk(address, port, client_hello(""));
    EXPECT_EQ(none, "<reset>") << port;
    auto wrong = co_await talk(address, port, client_hello(server_name("evil.example")));
    EXPECT_EQ(wrong, "<reset>") << port;
    auto right = co_await talk(address, port, client_hello(server_name("web.example")));
    EXPECT_NE(right, "<reset>") << port;
    EXPECT_NE(right, "") << port;
  }
  auto plain = co_await talk(address, World::kHttps, get("web.example"));
  EXPECT_EQ(plain, "<reset>");
  EXPECT_EQ(world_->connections, before);
  co_await record(R"({"reason":"TLS without a server name","port":443})");
  co_await record(R"({"reason":"TLS with an encrypted hello hides which name it is for"})");
  co_await record(R"({"reason":"not TLS, on a port where only TLS passes"})");
}

EGRESS_TEST_IN(EgressNamesTest, whoever_does_not_say_for_whom_is_not_waited_for) {
  co_await set_policy(allow("web.example"));
  std::string address = co_await lookup("web.example");
  std::string hello = client_hello(server_name("web.example"));
  auto slow = co_await connect(address, World::kHttps);
  auto slow_elsewhere = co_await connect(address, World::kPlainTls);
  auto start = std::chrono::steady_clock::now();
  for (size_t i = 0; i < 40; ++i) {
    co_await send(slow, hello.substr(i, 1));
    co_await send(slow_elsewhere, hello.substr(i, 1));
    co_await sleep_for(100ms);
  }
  auto end = co_await rest_of(slow, 22s);
  EXPECT_EQ(end, "<reset>");
  auto end_elsewhere = co_await rest_of(slow_elsewhere, 22s);
  EXPECT_EQ(end_elsewhere, "<reset>");
  EXPECT_LT(std::chrono::steady_clock::now() - start, 25s);
}

EGRESS_TEST_IN(EgressNamesTest, http_passes_for_the_right_name_only) {
  co_await set_policy(allow("web.example"));
  std::string address = co_await lookup("web.example");
  for (uint16_t port : {World::kHttp, World::kPlainHttp}) {
    world_->requests.clear();
    auto right = co_await talk(address, port, get_and_close("web.example"));
    EXPECT_THAT(right, StartsWith("HTTP/1.1 200")) << port;
    auto upper = co_await talk(
        address, port, get_and_close("WEB.example.:" + std::to_string(port)));
    EXPECT_THAT(upper, StartsWith("HTTP/1.1 200")) << port;
    auto absolute =
        co_await talk(address, port, get_and_close("web.example", "http://web.example/y"));
    EXPECT_THAT(absolute, HasSubstr("web web.example /y")) << port;
    EXPECT_EQ(world_->requests.size(), 3u);
    for (std::string request :
         {get_and_close("evil.example"), get_and_close("web.example:81"),
          get_and_close("web.example@evil.example"), get_and_close("web.example evil.example"),
          get_and_close("93.184.216.34"), get_and_close("web.example", "http://evil.example/"),
          get_and_close("web.example", "http://web.example@evil.example/"),
          get_and_close("web.example", "evil.example/x"),
          std::string("GET / HTTP/1.0\r\n\r\n"),
          std::string("CONNECT evil.example:443 HTTP/1.1\r\nHost: web.example\r\n"
                      "Connection: close\r\n\r\n"),
          std::string("EXFIL / HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n")}) {
      auto answer = co_await talk(address, port, request);
      EXPECT_THAT(answer, StartsWith("HTTP/1.1 403")) << port << " " << request;
      EXPECT_THAT(answer, HasSubstr("hako: ")) << port << " " << request;
    }
    for (std::string request :
         {std::string("\r\n\r\n") + get_and_close("evil.example"),
          std::string("GET / HTTP/1.1\r\nHost: web.example\r\nHost: evil.example\r\n\r\n"),
          std::string("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
          std::string("GET / HTTP/1.1\nHost: evil.example\n\n"),
          std::string("GET / HTTP/1.1\r\nHost : evil.example\r\n\r\n"),
          std::string("GET / HTTP/1.1\r\n Host: evil.example\r\nHost: web.example\r\n\r\n")}) {
      auto answer = co_await talk(address, port, request);
      EXPECT_THAT(answer, Not(HasSubstr("200"))) << port << " " << request;
      EXPECT_THAT(answer, Not(EndsWith("<open>"))) << port << " " << request;
    }
    EXPECT_EQ(world_->requests.size(), 3u);
  }
  co_await record(
      R"({"verdict":"denied","rule":"egress.host","name":"web.example","port":80,)"
      R"("reason":"a request for \"evil.example\" on a connection to web.example"})");
}

EGRESS_TEST_IN(EgressNamesTest, every_request_of_a_connection_is_judged) {
  co_await set_policy(allow("web.example"));
  std::string address = co_await lookup("web.example");
  for (uint16_t port : {World::kHttp, World::kPlainHttp}) {
    world_->requests.clear();
    auto answers = co_await talk(address, port,
                                 get("web.example", "/1") + get("evil.example", "/2") +
                                     get_and_close("web.example", "/3"));
    EXPECT_THAT(answers, HasSubstr("web web.example /1")) << port;
    EXPECT_THAT(answers, HasSubstr("HTTP/1.1 403")) << port;
    EXPECT_THAT(answers, HasSubstr("web web.example /3")) << port;
    EXPECT_EQ(world_->requests.size(), 2u) << port;
  }
}

EGRESS_TEST_IN(EgressNamesTest, websockets_pass_for_the_right_name) {
  co_await set_policy(allow("web.example"));
  std::string address = co_await lookup("web.example");
  std::string upgrade = "\r\nUpgrade: WebSocket\r\nConnection: upgrade\r\n\r\n";
  auto stream = co_await connect(address, World::kHttp);
  co_await send(stream, "GET /chat HTTP/1.1\r\nHost: web.example" + upgrade);
  std::string head;
  while (!head.ends_with("\r\n\r\n")) head += co_await receive(stream, 1);
  EXPECT_THAT(head, StartsWith("HTTP/1.1 101"));
  co_await send(stream, "over it");
  EXPECT_EQ(co_await receive(stream, 7), "over it");
  auto refused =
      co_await talk(address, World::kHttp, "GET /chat HTTP/1.1\r\nHost: evil.example" + upgrade);
  EXPECT_THAT(refused, StartsWith("HTTP/1.1 403"));
}

EGRESS_TEST_IN(EgressNamesTest, requests_become_no_protocol_but_websockets) {
  co_await set_policy(allow("web.example"));
  std::string address = co_await lookup("web.example");
  auto request = [](const std::string& protocol) {
    return "GET /chat HTTP/1.1\r\nHost: web.example\r\nUpgrade: " + protocol +
           "\r\nConnection: upgrade, close\r\n\r\n";
  };
  for (std::string protocol : {"test", "h2c", "HTTP/2.0", "TLS/1.3", "websocket, test",
                               "websocket/13", "test\r\nUpgrade: websocket"}) {
    auto answer = co_await talk(address, World::kHttp, request(protocol));
    EXPECT_THAT(answer, StartsWith("HTTP/1.1 200")) << protocol;
    EXPECT_THAT(answer, HasSubstr("web web.example /chat")) << protocol;
  }
  for (std::string other : {"test", "websocket, test"}) {
    auto asking = request("websocket\r\nX-Becomes: " + other);
    auto answer = co_await talk(address, World::kHttp, asking);
    EXPECT_THAT(answer, StartsWith("HTTP/1.1 502")) << other;
  }
}

EGRESS_TEST_IN(EgressNamesTest, other_protocols_pass_as_they_are) {
  co_await set_policy(allow("web.example"));
  std::string address = co_await lookup("web.example");
  auto greeting = co_await connect(address, World::kGreeting);
  EXPECT_EQ(co_await receive(greeting, 6), "hello\n");
  co_await send(greeting, "SSH-2.0-test\r\n");
  EXPECT_EQ(co_await receive(greeting, 14), "SSH-2.0-test\r\n");
  auto echo = co_await connect(address, World::kEcho);
  std::string binary("\0\1\2\xff binary", 11);
  co_await send(echo, binary);
  EXPECT_EQ(co_await receive(echo, binary.size()), binary);
  // Such as cannot be told at once pass when they can be.
  auto halting = co_await connect(address, World::kEcho);
  co_await send(halting, "EHLO");
  co_await sleep_for(100ms);
  co_await send(halting, " there\r\n");
  EXPECT_EQ(co_await receive(halting, 12), "EHLO there\r\n");
  // A greeting does not open the way for HTTP to somebody else.
  auto late = co_await connect(address, World::kGreeting);
  EXPECT_EQ(co_await receive(late, 6), "hello\n");
  co_await send(late, get_and_close("evil.example"));
  auto answer = co_await rest_of(late);
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 403"));
}

EGRESS_TEST_IN(EgressNamesTest, where_the_internet_is_open_names_need_not_agree) {
  co_await set_policy(internet());
  world_->names["any.example"] = {World::kWeb};
  auto fronted = co_await curl("any.example", "evil.example", 443, "https://evil.example/x");
  EXPECT_EQ(fronted.output, "web evil.example /x 0");
  std::string address = co_await lookup("any.example");
  auto http = co_await talk(address, World::kHttp, get_and_close("evil.example"));
  EXPECT_THAT(http, StartsWith("HTTP/1.1 200"));
  auto direct = co_await talk(World::kWeb, World::kHttp, get_and_close("evil.example"));
  EXPECT_THAT(direct, StartsWith("HTTP/1.1 200"));
}

EGRESS_TEST_IN(EgressNamesTest, a_denied_name_cannot_be_reached_by_address_either) {
  co_await set_policy(internet("evil.example *.evil.example"));
  world_->names["any.example"] = {World::kWeb};
  world_->names["evil.example"] = {World::kWeb};
  auto denied = co_await ask_dns("evil.example");
  EXPECT_EQ(denied.rcode, 5);
  std::string address = co_await lookup("any.example");
  for (std::string way : {address, std::string(World::kWeb)}) {
    auto http = co_await talk(way, World::kHttp, get_and_close("evil.example"));
    EXPECT_THAT(http, StartsWith("HTTP/1.1 403")) << way;
    auto elsewhere = co_await talk(way, World::kPlainHttp, get_and_close("a.evil.example"));
    EXPECT_THAT(elsewhere, StartsWith("HTTP/1.1 403")) << way;
    auto tls = co_await talk(way, World::kHttps, client_hello(server_name("evil.example")));
    EXPECT_EQ(tls, "<reset>") << way;
  }
  auto by_address = co_await talk(World::kWeb, World::kHttp, get_and_close(World::kWeb));
  EXPECT_THAT(by_address, StartsWith("HTTP/1.1 200"));
  auto other_name = co_await talk(World::kWeb, World::kHttp, get_and_close("any.example"));
  EXPECT_THAT(other_name, StartsWith("HTTP/1.1 200"));
  auto tls = co_await talk(World::kWeb, World::kHttps, client_hello(server_name("any.example")));
  EXPECT_NE(tls, "<reset>");
}

EGRESS_TEST_IN(EgressNamesTest, what_is_for_a_name_that_is_denied_later_is_cut) {
  co_await set_policy(internet("evil.example"));
  std::vector<http::Stream> streams;
  for (std::string name : {"doomed.example", "kept.example"}) {
    std::string hello = client_hello(server_name(name));
    streams.push_back(co_await connect(World::kWeb, World::kEcho));
    co_await send(streams.back(), hello);
    EXPECT_EQ(co_await receive(streams.back(), hello.size()), hello);
  }
  for (std::string name : {"doomed.example", "kept.example"}) {
    streams.push_back(co_await connect(World::kWeb, World::kHttp));
    co_await send(streams.back(),
                  "POST /x HTTP/1.1\r\nHost: " + name + "\r\nContent-Length: 5\r\n\r\n123");
  }
  while (world_->requests.size() < 2) co_await sleep_for(10ms);
  co_await set_policy(internet("evil.example doomed.example"));
  EXPECT_EQ(co_await rest_of(streams[0]), "<reset>");
  EXPECT_EQ(co_await rest_of(streams[2]), "<reset>");
  co_await send(streams[1], "hello");
  EXPECT_EQ(co_await receive(streams[1], 5), "hello");
  co_await send(streams[3], "45");
  EXPECT_EQ(co_await receive(streams[3], 12), "HTTP/1.1 200");
}

}  // namespace
}  // namespace hako::test
