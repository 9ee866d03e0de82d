// An HTTP origin with every habit a server may have, and a relay before it.
#pragma once

#include <gtest/gtest.h>

#include "http/client.h"
#include "http/relay.h"
#include "http/server.h"
#include "support/run_task.h"

namespace hako::http {

using namespace std::chrono_literals;

/// FNV-1a, over pieces.
struct Digest {
  uint64_t value = 14695981039346656037ull;
  uint64_t bytes = 0;
  void add(std::string_view text) {
    for (unsigned char c : text) value = (value ^ c) * 1099511628211ull;
    bytes += text.size();
  }
};

inline std::string pattern(size_t size, size_t seed) {
  std::string text(size, '\0');
  for (size_t i = 0; i < size; ++i) text[i] = static_cast<char>((i * 31 + seed * 7) % 251);
  return text;
}

class HttpTest : public ::testing::Test {
 protected:
  /// Starts the origin (and a relay before it), runs `body`, stops them.
  void run(Task<void> body) { test::run_on(loop_, run_all(std::move(body)), 100s); }

  Task<void> run_all(Task<void> body) {
    TaskGroup servers(co_await asio::this_coro::executor);
    auto origin = listen_tcp("127.0.0.1", 0);
    auto front = listen_tcp("127.0.0.1", 0);
    origin_port_ = local_port(origin.value());
    relay_port_ = local_port(front.value());
    Handler serve_origin = [this](Exchange& exchange) { return handle(exchange); };
    Handler serve_relay = [this](Exchange& exchange) { return pass_on(exchange); };
    servers.spawn("origin", serve(std::move(origin).value(), serve_origin, limits_));
    servers.spawn("relay", serve(std::move(front).value(), serve_relay));
    std::exception_ptr fault;
    try {
      co_await std::move(body);
    } catch (...) {
      fault = std::current_exception();
    }
    co_await servers.stop();
    if (fault) std::rethrow_exception(fault);
  }

  Task<void> handle(Exchange& exchange) {
    ++requests_;
    auto path = exchange.head().path();
    last_head_ = exchange.head();
    if (!exchange.head().header("X-Known").empty()) exchange.vouch();
    if (path == "/echo")
      co_await echo(exchange);
    else if (path == "/stream")
      co_await stream(exchange);
    else if (path == "/big")
      co_await big(exchange);
    else if (path == "/digest")
      co_await digest(exchange);
    else if (path == "/abort")
      co_await abort(exchange);
    else if (path == "/throw")
      throw std::runtime_error("secret detail");
    else if (path == "/late-throw") {
      ResponseHead head;
      (void)co_await exchange.begin(std::move(head));
      throw std::runtime_error("secret detail");
    } else if (path == "/wait") {
      co_await exchange.closed_by_client();
      ++gone_;
    } else if (path == "/ended") {
      co_await exchange.closed_by_client();
      auto response = Response::text(200, "seen");
      (void)co_await exchange.respond(std::move(response));
    } else if (path == "/hang") {
      ResponseHead head;
      asio::const_buffer first = asio::buffer("begun", 5);
      (void)co_await exchange.begin_with(std::move(head), first);
      co_await exchange.closed_by_client();
      ++gone_;
    } else if (path == "/upgrade")
      co_await upgrade(exchange);
    else if (path == "/unframed")
      co_await unframed(exchange);
    else if (path == "/ignore") {
      auto response = Response::text(401, "no");
      (void)co_await exchange.respond(std::move(response));
    } else if (path == "/no-content") {
      auto response = Response::empty();
      (void)co_await exchange.respond(std::move(response));
    }
    // Anything else is left unanswered.
  }

  static Task<void> echo(Exchange& exchange) {
    auto body = co_await exchange.read_body(1 << 20);
    Response response;
    if (body)
      response = Response::text(200, exchange.head().method_text + ":" + body.value());
    else
      response = error_response(body.error());
    (void)co_await exchange.respond(std::move(response));
  }

  static Task<void> stream(Exchange& exchange) {
    ResponseHead head;
    (void)co_await exchange.begin(std::move(head));
    (void)co_await exchange.write(asio::buffer("one,", 4));
    (void)co_await exchange.write(asio::buffer("two,", 4));
    (void)co_await exchange.end_with(asio::buffer("three", 5));
  }

  static Task<void> big(Exchange& exchange) {
    size_t pieces = std::stoul(exchange.head().parameter("mib").value_or("1"));
    ResponseHead head;
    if (exchange.head().parameter("counted"))
      head.fields.set(Field::content_length, std::to_string(pieces << 20));
    (void)co_await exchange.begin(std::move(head));
    for (size_t i = 0; i < pieces; ++i) {
      std::string piece = pattern(1 << 20, i);
      if (!co_await exchange.write(asio::buffer(piece))) co_return;
    }
    (void)co_await exchange.end();
  }

  static Task<void> digest(Exchange& exchange) {
    Digest digest;
    std::vector<char> buffer(32 << 10);
    for (;;) {
      auto count = co_await exchange.read_some(asio::buffer(buffer));
      if (!count) co_return exchange.abort();
      if (count.value() == 0) break;
      digest.add({buffer.data(), count.value()});
    }
    auto response =
        Response::text(200, std::to_string(digest.bytes) + " " + std::to_string(digest.value));
    (void)co_await exchange.respond(std::move(response));
  }

  static Task<void> abort(Exchange& exchange) {
    ResponseHead head;
    (void)co_await exchange.begin(std::move(head));
    (void)co_await exchange.write(asio::buffer("part", 4));
    // What has been sent must be on its way before the reset drops what has not.
    co_await sleep_for(50ms);
    exchange.abort();
  }

  static Task<void> upgrade(Exchange& exchange) {
    auto raw = exchange.take_connection();
    std::string head =
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: test\r\nConnection: upgrade\r\n\r\nhello";
    co_await asio::async_write(raw.stream, asio::buffer(head), asio::use_awaitable);
    char buffer[256];
    boost::system::error_code error;
    for (;;) {
      size_t n = co_await raw.stream.async_read_some(
          asio::buffer(buffer), asio::redirect_error(asio::use_awaitable, error));
      if (error) co_return;
      co_await asio::async_write(raw.stream, asio::buffer(buffer, n), asio::use_awaitable);
    }
  }

  static Task<void> unframed(Exchange& exchange) {
    auto raw = exchange.take_connection();
    std::string answer = "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nuntil the end";
    co_await asio::async_write(raw.stream, asio::buffer(answer), asio::use_awaitable);
  }

  Task<void> pass_on(Exchange& exchange) {
    auto connected = co_await connect_tcp("127.0.0.1", origin_port_, 5s);
    Client upstream(std::move(connected).value());
    auto outcome = co_await relay(exchange, exchange.head(), upstream);
    outcomes_.push_back(outcome);
    if (outcome != RelayOutcome::refused) co_return;
    auto response = error_response(502, "refused");
    (void)co_await exchange.respond(std::move(response));
  }

  Task<Client> client(uint16_t port) {
    auto connected = co_await connect_tcp("127.0.0.1", port, 5s);
    co_return Client(std::move(connected).value());
  }

  /// Sends bytes and returns all that comes back, until the connection ends; "<reset>" behind it
  /// if it ended so.
  Task<std::string> talk(uint16_t port, std::string sent) {
    auto connected = co_await connect_tcp("127.0.0.1", port, 5s);
    Stream stream = std::move(connected).value();
    co_await asio::async_write(stream, asio::buffer(sent), asio::use_awaitable);
    co_return co_await rest_of(stream);
  }

  static Task<std::string> rest_of(Stream& stream) {
    std::string received;
    char buffer[4096];
    boost::system::error_code error;
    for (;;) {
      size_t n = co_await stream.async_read_some(asio::buffer(buffer),
                                                 asio::redirect_error(asio::use_awaitable, error));
      received.append(buffer, n);
      if (error == asio::error::eof) co_return received;
      if (error) co_return received + "<reset>";
    }
  }

  static Task<std::string> read_until(Stream& stream, std::string_view mark) {
    std::string received;
    char byte;
    while (!received.ends_with(mark)) {
      co_await asio::async_read(stream, asio::buffer(&byte, 1), asio::use_awaitable);
      received += byte;
    }
    co_return received;
  }

  static Request get(std::string target) {
    Request request;
    request.target = std::move(target);
    return request;
  }

  asio::io_context loop_;
  ServerLimits limits_;
  uint16_t origin_port_ = 0, relay_port_ = 0;
  int requests_ = 0, gone_ = 0;
  RequestHead last_head_;
  std::vector<RelayOutcome> outcomes_;
};

/// A test whose body is a coroutine.
#define HTTP_TEST(name)                     \
  class HttpTest_##name : public HttpTest { \
   protected:                               \
    Task<void> body();                      \
  };                                        \
  TEST_F(HttpTest_##name, run) {            \
    HttpTest::run(body());                  \
  }                                         \
  Task<void> HttpTest_##name::body()

}  // namespace hako::http
