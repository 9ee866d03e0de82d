// HTTP over real sockets: what well-behaved and hostile clients send.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/http_lab.h"

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

  Task<void> surplus_connections_are_turned_away() {
    Client one = co_await this->client(origin_port_);
    Client two = co_await this->client(origin_port_);
    CO_ASSERT_TRUE(co_await one.exchange(get("/echo")));
    CO_ASSERT_TRUE(co_await two.exchange(get("/echo")));
    EXPECT_THAT(co_await talk(origin_port_, ""), StartsWith("HTTP/1.1 503"));
    EXPECT_TRUE(co_await one.exchange(get("/echo")));
  }
};

TEST_F(LimitedHttpTest, slow_clients_are_dropped) {
  run(slow_clients_are_dropped());
}
TEST_F(LimitedHttpTest, readers_that_stop_are_cut) {
  run(readers_that_stop_are_cut());
}
TEST_F(LimitedHttpTest, surplus_connections_are_turned_away) {
  run(surplus_connections_are_turned_away());
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
