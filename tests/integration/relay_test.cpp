// What a relay does between a client and a server, over real sockets.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "support/http_lab.h"

namespace hako::http {
namespace {

using namespace std::chrono_literals;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

HTTP_TEST(passes_responses_on) {
  Client client = co_await this->client(relay_port_);
  for (int i = 0; i < 3; ++i) {
    auto streamed = co_await client.exchange(get("/stream"));
    CO_ASSERT_TRUE(streamed);
    EXPECT_EQ(streamed.value().body, "one,two,three");
  }
  auto unframed = co_await client.exchange(get("/unframed"));
  CO_ASSERT_TRUE(unframed);
  EXPECT_EQ(unframed.value().body, "until the end");
  EXPECT_TRUE(client.reusable());
  auto empty = co_await client.exchange(get("/no-content"));
  CO_ASSERT_TRUE(empty);
  EXPECT_EQ(empty.value().status, 204u);
  Request head = get("/big?counted=1");
  head.method = Verb::head;
  auto length = co_await client.exchange(std::move(head));
  CO_ASSERT_TRUE(length);
  EXPECT_EQ(length.value().fields[Field::content_length], "1048576");
  EXPECT_EQ(outcomes_[0], RelayOutcome::reusable);
  EXPECT_EQ(outcomes_[3], RelayOutcome::finished);
}

HTTP_TEST(removes_what_concerns_one_connection) {
  auto text = co_await talk(relay_port_,
                            "POST /echo HTTP/1.1\r\nHost: x\r\nConnection: close, X-Private\r\n"
                            "X-Private: 1\r\nX-Public: 2\r\nKeep-Alive: 5\r\nTE: trailers\r\n"
                            "Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n");
  EXPECT_THAT(text, EndsWith("POST:hi"));
  EXPECT_EQ(last_head_.header("X-Private"), "");
  EXPECT_EQ(last_head_.header("X-Public"), "2");
  EXPECT_EQ(last_head_.header("Keep-Alive"), "");
  EXPECT_EQ(last_head_.header("TE"), "");
  EXPECT_EQ(last_head_.header("Host"), "x");
  text = co_await talk(relay_port_,
                       "GET /echo HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings, close\r\n"
                       "Upgrade: h2c\r\nHTTP2-Settings: x\r\n\r\n");
  EXPECT_THAT(text, EndsWith("GET:"));
  EXPECT_EQ(last_head_.header("Upgrade"), "");
}

/// Peak resident memory of this process, KiB.
long peak_memory() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("VmHWM:")) return std::stol(line.substr(6));
  return 0;
}

HTTP_TEST(passes_on_a_hundred_mebibytes_without_gathering_them) {
  std::ofstream("/proc/self/clear_refs") << "5";  // the peak starts here
  long before = peak_memory();
  Client client = co_await this->client(relay_port_);
  auto head = co_await client.start(get("/big?mib=100"));
  CO_ASSERT_TRUE(head);
  Digest down;
  std::vector<char> buffer(64 << 10);
  for (;;) {
    auto count = co_await client.read_some(asio::buffer(buffer));
    CO_ASSERT_TRUE(count);
    if (count.value() == 0) break;
    down.add({buffer.data(), count.value()});
  }
  Digest expected;
  for (size_t i = 0; i < 100; ++i) expected.add(pattern(1 << 20, i));
  EXPECT_EQ(down.bytes, 100u << 20);
  EXPECT_EQ(down.value, expected.value);

  Request upload = get("/digest");
  upload.method = Verb::post;
  CO_ASSERT_TRUE(co_await client.begin(std::move(upload)));
  for (size_t i = 0; i < 100; ++i) {
    std::string piece = pattern(1 << 20, i);
    CO_ASSERT_TRUE(co_await client.write(asio::buffer(piece)));
  }
  CO_ASSERT_TRUE(co_await client.finish());
  CO_ASSERT_TRUE(co_await client.read_head());
  auto count = co_await client.read_some(asio::buffer(buffer));
  CO_ASSERT_TRUE(count);
  EXPECT_EQ(std::string(buffer.data(), count.value()),
            std::to_string(expected.bytes) + " " + std::to_string(expected.value));
  // AddressSanitizer keeps for a while what was freed.
  if (test::kSlowness == 1) {
    EXPECT_LT(peak_memory() - before, 30'000);
  }
}

HTTP_TEST(a_request_may_come_while_the_last_answer_is_sent) {
  auto connected = co_await connect_tcp("127.0.0.1", relay_port_, 5s);
  Stream stream = std::move(connected).value();
  std::string first = "GET /big?mib=16 HTTP/1.1\r\n\r\n";
  std::string second = "GET /echo HTTP/1.1\r\nConnection: close\r\n\r\n";
  co_await asio::async_write(stream, asio::buffer(first), asio::use_awaitable);
  // Nobody reads, so that the relay waits in the middle of its answer.
  co_await sleep_for(100ms);
  co_await asio::async_write(stream, asio::buffer(second), asio::use_awaitable);
  co_await sleep_for(50ms);
  auto text = co_await rest_of(stream);
  EXPECT_GT(text.size(), 16u << 20);
  EXPECT_THAT(text.substr(text.size() - 4), "GET:");
}

HTTP_TEST(cuts_the_client_when_upstream_is_cut) {
  auto text = co_await talk(relay_port_, "GET /abort HTTP/1.1\r\n\r\n");
  EXPECT_THAT(text, EndsWith("4\r\npart\r\n<reset>"));
  CO_ASSERT_TRUE(outcomes_.size() == 1);
  EXPECT_EQ(outcomes_[0], RelayOutcome::cut);
}

HTTP_TEST(sends_nothing_when_upstream_breaks_before_its_response) {
  Client client = co_await this->client(relay_port_);
  Request request = get("/late-throw");
  auto cut = co_await client.exchange(std::move(request));
  EXPECT_FALSE(cut);  // a head had been sent
  Stream silent(co_await asio::this_coro::executor);
  // A listener that closes what it accepts.
  auto listener = listen_tcp("127.0.0.1", 0);
  uint16_t real = std::exchange(origin_port_, local_port(listener.value()));
  TaskGroup group(co_await asio::this_coro::executor);
  Handler refuse = [](Exchange& exchange) -> Task<void> {
    exchange.abort();
    co_return;
  };
  group.spawn("refuse", serve(std::move(listener).value(), refuse));
  Client second = co_await this->client(relay_port_);
  auto answer = co_await second.exchange(get("/echo"));
  EXPECT_TRUE(answer);
  if (answer) {
    EXPECT_EQ(answer.value().status, 502u);
  }
  origin_port_ = real;
  co_await group.stop();
}

HTTP_TEST(cuts_upstream_when_the_client_leaves) {
  {
    Client client = co_await this->client(relay_port_);
    auto head = co_await client.start(get("/hang"));
    CO_ASSERT_TRUE(head);
    EXPECT_EQ(gone_, 0);
  }
  while (gone_ == 0) co_await sleep_for(1ms);
  while (outcomes_.empty()) co_await sleep_for(1ms);
  EXPECT_EQ(outcomes_[0], RelayOutcome::client_gone);
}

HTTP_TEST(cuts_upstream_when_the_client_leaves_before_its_answer) {
  for (int left = 0; left < 2; ++left) {
    auto connected = co_await connect_tcp("127.0.0.1", relay_port_, 5s);
    Stream stream = std::move(connected).value();
    // What comes behind it does not hide that the client has gone.
    std::string request = "GET /wait HTTP/1.1\r\n\r\n";
    if (left == 1) request += "GET /echo HTTP/1.1\r\n\r\n";
    co_await asio::async_write(stream, asio::buffer(request), asio::use_awaitable);
    co_await sleep_for(50ms);
    EXPECT_EQ(gone_, left);
    stream.close();
    while (gone_ == left) co_await sleep_for(1ms);
    while (outcomes_.size() <= static_cast<size_t>(left)) co_await sleep_for(1ms);
    EXPECT_EQ(outcomes_[left], RelayOutcome::client_gone);
  }
}

/// Its end has been seen while it was answered, and is not waited for again. (Of a unix socket: one of
/// TCP has news once more, as the answer is acknowledged.)
HTTP_TEST(a_client_that_has_ended_is_not_waited_for) {
  int ends[2];
  CO_ASSERT_TRUE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) == 0);
  Fd ours(ends[0]), theirs(ends[1]);
  constexpr std::string_view kRequest = "GET /ended HTTP/1.1\r\n\r\n";
  CO_ASSERT_TRUE(::write(theirs.get(), kRequest.data(), kRequest.size()) == ssize_t(kRequest.size()));
  ::shutdown(theirs.get(), SHUT_WR);
  Stream stream = make_stream(co_await asio::this_coro::executor, std::move(ours));
  Handler handler = [this](Exchange& exchange) { return handle(exchange); };
  auto serve = [&]() -> Task<Result<void>> {
    co_await serve_connection(std::move(stream), handler);
    co_return ok();
  };
  auto serving = serve();
  auto in_time = co_await with_deadline(5s, std::move(serving));
  EXPECT_TRUE(in_time) << "the connection is still open";
}

HTTP_TEST(what_comes_with_a_head_goes_on_with_it) {
  auto connected = co_await connect_tcp("127.0.0.1", relay_port_, 5s);
  Stream stream = std::move(connected).value();
  std::string request = "GET /echo HTTP/1.1\r\n\r\n";
  co_await asio::async_write(stream, asio::buffer(request), asio::use_awaitable);
  char buffer[4096];
  size_t count = co_await stream.async_read_some(asio::buffer(buffer), asio::use_awaitable);
  EXPECT_THAT(std::string(buffer, count), EndsWith("GET:"));
}

HTTP_TEST(what_a_client_says_behind_its_last_request_does_not_cost_it_the_answer) {
  auto connected = co_await connect_tcp("127.0.0.1", relay_port_, 5s);
  Stream stream = std::move(connected).value();
  std::string request = "GET /big?mib=16 HTTP/1.1\r\nConnection: close\r\n\r\n";
  co_await asio::async_write(stream, asio::buffer(request), asio::use_awaitable);
  // Nobody reads, so that the relay waits in the middle of its answer.
  co_await sleep_for(50ms);
  co_await asio::async_write(stream, asio::buffer("\r\n", 2), asio::use_awaitable);
  co_await sleep_for(50ms);
  auto text = co_await rest_of(stream);
  EXPECT_GT(text.size(), 16u << 20);
  EXPECT_EQ(text.substr(text.size() - 5), "0\r\n\r\n");
}

HTTP_TEST(small_chunks_that_come_together_go_on_together) {
  constexpr size_t kChunks = 5000;
  Handler piecemeal = [](Exchange& exchange) -> Task<void> {
    auto raw = exchange.take_connection();
    std::string answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (size_t i = 0; i < kChunks; ++i) answer += "1\r\nx\r\n";
    answer += "0\r\n\r\n";
    co_await asio::async_write(raw.stream, asio::buffer(answer), asio::use_awaitable);
  };
  auto listener = listen_tcp("127.0.0.1", 0);
  uint16_t real = std::exchange(origin_port_, local_port(listener.value()));
  TaskGroup group(co_await asio::this_coro::executor);
  group.spawn("piecemeal", serve(std::move(listener).value(), piecemeal));
  auto text = co_await talk(relay_port_, "GET / HTTP/1.1\r\nConnection: close\r\n\r\n");
  size_t begins = text.find("\r\n\r\n") + 4, passed = std::ranges::count(text.substr(begins), 'x');
  EXPECT_EQ(passed, kChunks);
  // As they came they would take five bytes more each.
  EXPECT_LT(text.size() - begins, kChunks + kChunks / 10);
  origin_port_ = real;
  co_await group.stop();
}

HTTP_TEST(an_early_answer_ends_the_upload) {
  Client client = co_await this->client(relay_port_);
  Request upload = get("/ignore");
  upload.method = Verb::post;
  upload.fields.set(Field::content_length, "50000000");
  CO_ASSERT_TRUE(co_await client.begin(std::move(upload)));
  std::string piece(1000, 'x');
  CO_ASSERT_TRUE(co_await client.write(asio::buffer(piece)));
  auto head = co_await client.read_head();
  CO_ASSERT_TRUE(head);
  EXPECT_EQ(head.value().status, 401u);
}

HTTP_TEST(tunnels_after_an_upgrade) {
  auto connected = co_await connect_tcp("127.0.0.1", relay_port_, 5s);
  Stream stream = std::move(connected).value();
  std::string head = "GET /upgrade HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: test\r\n\r\nfirst";
  co_await asio::async_write(stream, asio::buffer(head), asio::use_awaitable);
  auto answer = co_await read_until(stream, "hello");
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 101"));
  EXPECT_THAT(answer, HasSubstr("Upgrade: test\r\n"));
  EXPECT_EQ(co_await read_until(stream, "first"), "first");
  co_await asio::async_write(stream, asio::buffer("second", 6), asio::use_awaitable);
  stream.shutdown(Stream::shutdown_send);
  EXPECT_EQ(co_await rest_of(stream), "second");
}

HTTP_TEST(an_upgrade_nobody_asked_for_is_refused) {
  auto text = co_await talk(relay_port_, "GET /upgrade HTTP/1.1\r\nConnection: close\r\n\r\n");
  EXPECT_THAT(text, StartsWith("HTTP/1.1 502"));
}

HTTP_TEST(stopping_a_relay_cuts_both_sides) {
  TaskGroup group(co_await asio::this_coro::executor);
  auto listener = listen_tcp("127.0.0.1", 0);
  uint16_t port = local_port(listener.value());
  Handler handler = [this](Exchange& exchange) { return pass_on(exchange); };
  group.spawn("server", serve(std::move(listener).value(), handler));
  Client streaming = co_await this->client(port);
  CO_ASSERT_TRUE(co_await streaming.start(get("/hang")));
  co_await group.stop();
  char buffer[64];
  auto rest = co_await streaming.read_some(asio::buffer(buffer));
  if (rest && rest.value() > 0) rest = co_await streaming.read_some(asio::buffer(buffer));
  EXPECT_FALSE(rest);
  while (gone_ == 0) co_await sleep_for(1ms);
}

}  // namespace
}  // namespace hako::http
