// HTTP over real sockets: what well-behaved and hostile clients send.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sys/resource.h>
#include <sys/wait.h>
#include <csignal>

#include "support/http_lab.h"
#include "support/in_child.h"

namespace hako::http {
namespace {

using namespace std::chrono_literals;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

HTTP_TEST(serves_many_requests_on_one_connection) {
  Client client = co_await this->client(origin_port_);
  for (int i = 0; i < 100; ++i) {
    Request request = get("/echo");
    request.method = Verb::post;
    request.body = "body " + std::to_string(i);
    auto response = co_await client.exchange(std::move(request));
    CO_ASSERT_TRUE(response);
    EXPECT_EQ(response.value().status, 200u);
    EXPECT_EQ(response.value().body, "POST:body " + std::to_string(i));
    EXPECT_TRUE(client.reusable());
    EXPECT_FALSE(client.stale());
  }
}

HTTP_TEST(answers_pipelined_requests_in_order) {
  auto text = co_await talk(origin_port_,
                            "POST /echo HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc"
                            "POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
                            "3\r\nxyz\r\n0\r\n\r\n"
                            "GET /echo HTTP/1.1\r\nConnection: close\r\n\r\n");
  EXPECT_LT(text.find("POST:abc"), text.find("POST:xyz"));
  EXPECT_THAT(text, EndsWith("GET:"));
}

HTTP_TEST(streams_chunked_and_in_both_directions) {
  Client client = co_await this->client(origin_port_);
  auto streamed = co_await client.exchange(get("/stream"));
  CO_ASSERT_TRUE(streamed);
  EXPECT_EQ(streamed.value().body, "one,two,three");
  Request upload = get("/digest");
  upload.method = Verb::post;
  CO_ASSERT_TRUE(co_await client.begin(std::move(upload)));
  Digest expected;
  for (size_t i = 0; i < 20; ++i) {
    std::string piece = pattern(50'000 + i, i);
    expected.add(piece);
    CO_ASSERT_TRUE(co_await client.write(asio::buffer(piece)));
  }
  CO_ASSERT_TRUE(co_await client.finish());
  auto head = co_await client.read_head();
  CO_ASSERT_TRUE(head);
  EXPECT_EQ(head.value().status, 200u);
  char text[256];
  auto count = co_await client.read_some(asio::buffer(text));
  CO_ASSERT_TRUE(count);
  EXPECT_EQ(std::string(text, count.value()),
            std::to_string(expected.bytes) + " " + std::to_string(expected.value));
}

HTTP_TEST(speaks_http_1_0) {
  auto text = co_await talk(origin_port_, "GET /stream HTTP/1.0\r\n\r\n");
  EXPECT_THAT(text, EndsWith("\r\n\r\none,two,three"));
  EXPECT_THAT(text, Not(HasSubstr("chunked")));
}

HTTP_TEST(answers_head_without_a_body) {
  auto text = co_await talk(origin_port_, "HEAD /echo HTTP/1.1\r\nConnection: close\r\n\r\n");
  EXPECT_THAT(text, HasSubstr("Content-Length: 5"));
  EXPECT_THAT(text, EndsWith("\r\n\r\n"));
}

HTTP_TEST(says_nothing_about_the_length_of_no_content) {
  auto text = co_await talk(origin_port_, "GET /no-content HTTP/1.1\r\nConnection: close\r\n\r\n");
  EXPECT_THAT(text, StartsWith("HTTP/1.1 204"));
  EXPECT_THAT(text, Not(HasSubstr("Content-Length")));
}

HTTP_TEST(invites_bodies_that_wait_for_it) {
  auto connected = co_await connect_tcp("127.0.0.1", origin_port_, 5s);
  Stream stream = std::move(connected).value();
  std::string head = "POST /echo HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
  co_await asio::async_write(stream, asio::buffer(head), asio::use_awaitable);
  EXPECT_EQ(co_await read_until(stream, "\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
  co_await asio::async_write(stream, asio::buffer("hi", 2), asio::use_awaitable);
  EXPECT_THAT(co_await read_until(stream, "POST:hi"), StartsWith("HTTP/1.1 200"));
}

HTTP_TEST(refuses_heads_that_are_malformed_or_ambiguous) {
  for (std::string head : {
           "rubbish\r\n\r\n",
           "GET / HTTP/3.0\r\n\r\n",
           "GET /\r\n\r\n",
           "POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
           "POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
           "POST / HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n",
           "POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
           "POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n",
           "POST / HTTP/1.1\r\nTransfer-Encoding: chunked, identity\r\n\r\n",
           "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
           "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
           "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
       }) {
    auto text = co_await talk(origin_port_, head);
    EXPECT_THAT(text, StartsWith("HTTP/1.1 400")) << head;
  }
  EXPECT_EQ(requests_, 0);
}

HTTP_TEST(refuses_heads_over_the_limit) {
  std::string head = "GET /echo HTTP/1.1\r\nX: " + std::string(100'000, 'a') + "\r\n\r\n";
  EXPECT_THAT(co_await talk(origin_port_, head), StartsWith("HTTP/1.1 431"));
  std::string target = "GET /" + std::string(100'000, 'a') + " HTTP/1.1\r\n\r\n";
  EXPECT_THAT(co_await talk(origin_port_, target), StartsWith("HTTP/1.1 431"));
}

HTTP_TEST(limits_bodies_announced_or_not) {
  std::string size = std::to_string((1 << 20) + 1);
  auto announced = co_await talk(
      origin_port_, "POST /echo HTTP/1.1\r\nConnection: close\r\nContent-Length: " + size +
                        "\r\n\r\n" + std::string((1 << 20) + 1, 'x'));
  EXPECT_THAT(announced, StartsWith("HTTP/1.1 413"));
  Client client = co_await this->client(origin_port_);
  Request request = get("/echo");
  request.method = Verb::post;
  CO_ASSERT_TRUE(co_await client.begin(std::move(request)));
  std::string piece(1 << 16, 'x');
  for (int i = 0; i < 17; ++i) (void)co_await client.write(asio::buffer(piece));
  auto head = co_await client.read_head();
  CO_ASSERT_TRUE(head);
  EXPECT_EQ(head.value().status, 413u);
}

HTTP_TEST(bounds_chunk_headers) {
  auto text =
      co_await talk(origin_port_, "POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;" +
                                      std::string(1 << 20, 'e') + "\r\nx\r\n0\r\n\r\n");
  EXPECT_THAT(text, StartsWith("HTTP/1.1 500"));  // the echo's answer to a corrupted body
}

HTTP_TEST(keeps_the_connection_when_a_small_body_was_not_read) {
  auto text =
      co_await talk(origin_port_, "POST /ignore HTTP/1.1\r\nContent-Length: 100000\r\n\r\n" +
                                      std::string(100'000, 'x') +
                                      "GET /echo HTTP/1.1\r\nConnection: close\r\n\r\n");
  EXPECT_THAT(text, StartsWith("HTTP/1.1 401"));
  EXPECT_THAT(text, EndsWith("GET:"));
}

HTTP_TEST(closes_when_a_long_body_was_not_read) {
  auto text =
      co_await talk(origin_port_, "POST /ignore HTTP/1.1\r\nContent-Length: 9000000\r\n\r\n" +
                                      std::string(9'000'000, 'x') + "GET /echo HTTP/1.1\r\n\r\n");
  EXPECT_THAT(text, StartsWith("HTTP/1.1 401"));
  EXPECT_THAT(text, Not(HasSubstr("GET:")));
}

HTTP_TEST(hides_what_went_wrong_inside) {
  auto text = co_await talk(origin_port_, "GET /throw HTTP/1.1\r\nConnection: close\r\n\r\n");
  EXPECT_THAT(text, StartsWith("HTTP/1.1 500"));
  EXPECT_THAT(text, Not(HasSubstr("secret")));
  text = co_await talk(origin_port_, "GET /nothing HTTP/1.1\r\nConnection: close\r\n\r\n");
  EXPECT_THAT(text, StartsWith("HTTP/1.1 500"));
  text = co_await talk(origin_port_, "GET /late-throw HTTP/1.1\r\n\r\n");
  EXPECT_THAT(text, EndsWith("<reset>"));
}

HTTP_TEST(an_aborted_response_is_cut_and_not_ended) {
  auto text = co_await talk(origin_port_, "GET /abort HTTP/1.1\r\n\r\n");
  EXPECT_THAT(text, EndsWith("4\r\npart\r\n<reset>"));
}

HTTP_TEST(notices_a_client_that_leaves) {
  {
    Client client = co_await this->client(origin_port_);
    CO_ASSERT_TRUE(co_await client.begin(get("/wait")));
    while (requests_ == 0) co_await sleep_for(1ms);
    EXPECT_EQ(gone_, 0);
  }
  while (gone_ == 0) co_await sleep_for(1ms);
}

class LimitedHttpTest : public HttpTest {
 protected:
  LimitedHttpTest() {
    limits_.header_time = 1s;
    limits_.idle = 1s;
    limits_.stall = 1s;
    limits_.connections = 2;
  }

  Task<void> slow_clients_are_dropped() {
    EXPECT_EQ(co_await talk(origin_port_, ""), "");
    EXPECT_EQ(co_await talk(origin_port_, "GET /ec"), "");
    auto text = co_await talk(origin_port_, "GET /echo HTTP/1.1\r\n\r\n");
    EXPECT_THAT(text, EndsWith("GET:"));
    // A body that stops: the handler is told so.
    text = co_await talk(origin_port_, "POST /echo HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc");
    EXPECT_EQ(text, "");
  }

  Task<void> a_welcome_that_takes_too_long_is_cut() {
    TaskGroup servers(co_await asio::this_coro::executor);
    auto listener = listen_tcp("127.0.0.1", 0);
    uint16_t port = local_port(listener.value());
    Handler handler = [this](Exchange& exchange) { return handle(exchange); };
    // As of a handshake that never goes on.
    Welcome welcome = [](Stream stream) -> Task<Result<Stream>> {
      char byte;
      boost::system::error_code error;
      co_await asio::async_read(stream, asio::buffer(&byte, 1),
                                asio::redirect_error(asio::use_awaitable, error));
      if (error) co_return Error(ErrorCode::unavailable, "gone");
      co_return std::move(stream);
    };
    servers.spawn("server", serve(std::move(listener).value(), handler, limits_, welcome));
    EXPECT_EQ(co_await talk(port, ""), "");
    co_await servers.stop();
  }

  Task<void> readers_that_stop_are_cut() {
    Client client = co_await this->client(origin_port_);
    CO_ASSERT_TRUE(co_await client.start(get("/big?mib=64")));
    co_await sleep_for(3s);
    std::vector<char> buffer(1 << 20);
    for (;;) {
      auto count = co_await client.read_some(asio::buffer(buffer));
      if (!count) co_return;  // cut
      CO_ASSERT_TRUE(count.value() > 0);
    }
  }

};

TEST_F(LimitedHttpTest, a_welcome_that_takes_too_long_is_cut) {
  run(a_welcome_that_takes_too_long_is_cut());
}
TEST_F(LimitedHttpTest, slow_clients_are_dropped) {
  run(slow_clients_are_dropped());
}
TEST_F(LimitedHttpTest, readers_that_stop_are_cut) {
  run(readers_that_stop_are_cut());
}

/// A server that has room for few connections.
class FullHttpTest : public HttpTest {
 protected:
  FullHttpTest() { limits_.connections = 2; }

  static Request known(std::string target) {
    Request request = get(std::move(target));
    request.fields.set("X-Known", "yes");
    return request;
  }
  Task<Stream> silent() {
    auto connected = co_await connect_tcp("127.0.0.1", origin_port_, 5s);
    co_return std::move(connected).value();
  }
  /// One that the server works for.
  Task<Client> waiting(Request request) {
    Client client = co_await this->client(origin_port_);
    int before = requests_;
    (void)co_await client.begin(std::move(request));
    while (requests_ == before) co_await sleep_for(1ms);
    co_return client;
  }

  Task<void> a_newcomer_takes_the_place_of_the_stranger_who_came_first() {
    Stream first = co_await silent();
    Stream second = co_await silent();
    Client third = co_await this->client(origin_port_);
    auto answer = co_await third.exchange(get("/echo"));
    CO_ASSERT_TRUE(answer);
    EXPECT_EQ(answer.value().status, 200u);
    EXPECT_EQ(co_await rest_of(first), "");  // cut
    // The second has been spared.
    std::string request = "GET /echo HTTP/1.1\r\nConnection: close\r\n\r\n";
    co_await asio::async_write(second, asio::buffer(request), asio::use_awaitable);
    EXPECT_THAT(co_await rest_of(second), EndsWith("GET:"));
  }

  Task<void> those_whom_nobody_knows_give_way_even_while_they_are_served() {
    Client one = co_await waiting(get("/wait"));
    Client two = co_await waiting(known("/wait"));
    Client three = co_await this->client(origin_port_);
    EXPECT_TRUE(co_await three.exchange(known("/echo")));
    while (!one.stale()) co_await sleep_for(1ms);
    EXPECT_FALSE(two.stale());
  }

  Task<void> whoever_is_known_and_served_gives_way_to_nobody() {
    Client one = co_await waiting(known("/wait"));
    Client two = co_await waiting(known("/wait"));
    auto refused = co_await talk(origin_port_, "GET /echo HTTP/1.1\r\n\r\n");
    EXPECT_THAT(refused, StartsWith("HTTP/1.1 503"));
    EXPECT_THAT(refused, HasSubstr("\r\nRetry-After: 1\r\n"));
    EXPECT_FALSE(one.stale());
    EXPECT_FALSE(two.stale());
  }

  Task<void> whoever_is_known_and_idle_gives_way_last() {
    Client one = co_await this->client(origin_port_);
    CO_ASSERT_TRUE(co_await one.exchange(known("/echo")));
    Client two = co_await waiting(get("/hang"));
    Client three = co_await waiting(known("/wait"));  // in the place of two
    EXPECT_FALSE(one.stale());
    Client four = co_await waiting(known("/wait"));  // in that of one
    while (!one.stale()) co_await sleep_for(1ms);
    EXPECT_FALSE(three.stale());
  }

  /// As many as the server takes, and then some, each with another habit.
  Task<void> strangers_shut_out_nobody() {
    Client old = co_await waiting(known("/wait"));
    std::vector<Stream> strangers;
    for (int i = 0; i < 300; ++i) {
      Stream stranger = co_await silent();
      std::string start = i % 3 == 0 ? "" : i % 3 == 1 ? "GET /ec" : "GET /hang HTTP/1.1\r\n\r\n";
      boost::system::error_code ignored;
      co_await asio::async_write(stranger, asio::buffer(start),
                                 asio::redirect_error(asio::use_awaitable, ignored));
      strangers.push_back(std::move(stranger));
      if (i % 50 != 49) continue;
      Client one = co_await this->client(origin_port_);
      auto answer = co_await one.exchange(known("/echo"));
      EXPECT_TRUE(answer) << "after " << i;
      CO_ASSERT_TRUE(answer);
      EXPECT_EQ(answer.value().status, 200u);
    }
    EXPECT_FALSE(old.stale());
  }
};

TEST_F(FullHttpTest, a_newcomer_takes_the_place_of_the_stranger_who_came_first) {
  run(a_newcomer_takes_the_place_of_the_stranger_who_came_first());
}
TEST_F(FullHttpTest, those_whom_nobody_knows_give_way_even_while_they_are_served) {
  run(those_whom_nobody_knows_give_way_even_while_they_are_served());
}
TEST_F(FullHttpTest, whoever_is_known_and_served_gives_way_to_nobody) {
  run(whoever_is_known_and_served_gives_way_to_nobody());
}
TEST_F(FullHttpTest, whoever_is_known_and_idle_gives_way_last) {
  run(whoever_is_known_and_idle_gives_way_last());
}
TEST_F(FullHttpTest, strangers_shut_out_nobody) {
  limits_.connections = 64;
  run(strangers_shut_out_nobody());
}

/// A server in a process of its own, which may have few descriptors.
int serve_with_descriptors(Fd listener, rlim_t most) {
  rlimit limit{most, most};
  ::setrlimit(RLIMIT_NOFILE, &limit);
  asio::io_context loop;
  Handler handler = [](Exchange& exchange) -> Task<void> {
    auto response = Response::text(200, "here");
    (void)co_await exchange.respond(std::move(response));
  };
  asio::co_spawn(loop, serve(std::move(listener), handler), asio::detached);
  loop.run_for(60s);
  return 0;
}

TEST(Descriptors, WhenNoneIsLeftAStrangerGivesWay) {
  auto listener = listen_tcp("127.0.0.1", 0);
  ASSERT_TRUE(listener);
  uint16_t port = local_port(listener.value());
  pid_t server = ::fork();
  if (server == 0) ::_exit(serve_with_descriptors(std::move(listener).value(), 40));
  listener.value().reset();
  asio::io_context loop;
  auto body = [](uint16_t port) -> Task<void> {
    std::vector<Stream> strangers;
    for (int i = 0; i < 200; ++i) {
      auto connected = co_await connect_tcp("127.0.0.1", port, 5s);
      CO_ASSERT_TRUE(connected);
      strangers.push_back(std::move(connected).value());
    }
    auto connected = co_await connect_tcp("127.0.0.1", port, 5s);
    CO_ASSERT_TRUE(connected);
    Client client(std::move(connected).value());
    Request request;
    request.target = "/";
    auto answer = co_await client.exchange(std::move(request));
    EXPECT_TRUE(answer) << "shut out by those who say nothing";
    CO_ASSERT_TRUE(answer);
    EXPECT_EQ(answer.value().body, "here");
  };
  test::run_on(loop, body(port), 50s);
  ::kill(server, SIGKILL);
  ::waitpid(server, nullptr, 0);
}

TEST(Descriptors, BoundTheConnections) {
  auto within = [](rlim_t most) {
    return [most] {
      rlimit limit{most, most};
      ::setrlimit(RLIMIT_NOFILE, &limit);
      return int(connections_within_descriptors(4) / 16);
    };
  };
  EXPECT_EQ(hako::testing_support::in_child(within(1024)), 128 / 16);
  EXPECT_EQ(hako::testing_support::in_child(within(20)), 64 / 16);
  EXPECT_LE(connections_within_descriptors(1), ServerLimits().connections);
}

HTTP_TEST(stopping_cuts_every_connection) {
  TaskGroup group(co_await asio::this_coro::executor);
  auto listener = listen_tcp("127.0.0.1", 0);
  uint16_t port = local_port(listener.value());
  Handler handler = [this](Exchange& exchange) { return handle(exchange); };
  group.spawn("server", serve(std::move(listener).value(), handler));
  Client idle = co_await this->client(port);
  CO_ASSERT_TRUE(co_await idle.exchange(get("/echo")));
  Client streaming = co_await this->client(port);
  CO_ASSERT_TRUE(co_await streaming.start(get("/hang")));
  co_await group.stop();
  EXPECT_TRUE(idle.stale());
  char buffer[64];
  auto first = co_await streaming.read_some(asio::buffer(buffer));
  if (first && first.value() > 0) first = co_await streaming.read_some(asio::buffer(buffer));
  EXPECT_FALSE(first);
  auto refused = co_await connect_tcp("127.0.0.1", port, 1s);
  EXPECT_FALSE(refused);
}

HTTP_TEST(a_port_in_use_is_said_so) {
  auto second = listen_tcp("127.0.0.1", origin_port_);
  CO_ASSERT_TRUE(!second);
  EXPECT_EQ(second.error().code(), ErrorCode::failed_precondition);
  EXPECT_THAT(second.error().message(), HasSubstr(std::to_string(origin_port_)));
  co_return;
}

}  // namespace
}  // namespace hako::http
