// Requests of boxes on their way to a host with secrets: whatever a box sends, the connection ends, and
// what reaches the server is one well-formed request for each that was let through, for that host,
// with the secret in its header and nowhere else.
#include <sys/socket.h>
#include <unistd.h>

#include <boost/beast/http.hpp>

#include <algorithm>
#include <cstdint>
#include <cstdlib>

#include "gate/agreement.h"
#include "gate/secret_swap.h"
#include "http/relay.h"
#include "wire/routing.h"

namespace {

namespace beast = boost::beast;
using namespace hako;

constexpr size_t kLongestInput = 60 << 10;  ///< fits into a socket's buffer
constexpr char kFake[] = "fake-key";
constexpr char kReal[] = "real-key";

void require(bool holds) {
  if (!holds) std::abort();
}

struct Pair {
  Pair() {
    int ends[2];
    require(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) == 0);
    ours = Fd(ends[0]);
    theirs = Fd(ends[1]);
  }
  Fd ours, theirs;
};

gate::HostSecrets make_host() {
  gate::HostSecrets host;
  host.host = "web.example";
  gate::SecretSwap swap;
  swap.secret = "api";
  swap.placeholder = kFake;
  swap.value = kReal;
  swap.header = "x-api-key";
  host.swaps.push_back(std::move(swap));
  host.always.push_back({"x-sent-by", "hako"});
  host.values = gate::PatternSet(std::vector<std::string>{kReal});
  host.masks = {kFake};
  return host;
}

const gate::HostSecrets& host() {
  static const gate::HostSecrets host = make_host();
  return host;
}

const gate::PlaceholderSet& placeholders() {
  static const auto set = gate::PlaceholderSet::make({{"api", kFake}}).value();
  return set;
}

gate::Expected expected() {
  gate::Expected expected;
  expected.name = host().host;
  expected.port = 443;
  return expected;
}

/// What a server makes of the bytes: one request, and nothing behind it.
void check_sent(std::string_view bytes, bool whole) {
  beast::http::request_parser<beast::http::string_body> parser;
  parser.body_limit(boost::none);
  parser.header_limit(UINT32_MAX);
  beast::error_code error;
  parser.eager(true);
  size_t used = parser.put(boost::asio::buffer(bytes), error);
  // What was refused in the middle of its body was sent without the rest.
  if (!whole && (error == beast::http::error::need_more || (!error && !parser.is_done()))) return;
  require(!error && parser.is_done() && used == bytes.size());
  const auto& request = parser.get();
  require(bytes.find("\r\n ") >= bytes.find("\r\n\r\n"));
  require(request.count("Host") == 1 && request.count("x-sent-by") == 1);
  require(request.count("Transfer-Encoding") + request.count("Content-Length") <= 1);
  std::string head(bytes.substr(0, bytes.find("\r\n\r\n")));
  require(head.find(kFake) == head.npos && request.body().find(kFake) == std::string::npos);
  auto key = request.find("x-api-key");
  if (key != request.end() && key->value() == kReal) require(request.count("x-api-key") == 1);
}

class Watch final : public http::RelayWatcher {
 public:
  explicit Watch(std::string_view encoding) : search_(placeholders(), encoding) {}
  bool sent(std::string_view piece) override {
    passed = search_.refusal_of(piece).empty();
    whole = passed && piece.empty();
    return passed;
  }
  void answered(unsigned) override {}
  void received(size_t) override {}
  bool passed = true, whole = false;

 private:
  gate::BodySearch search_;
};

Task<void> handle(http::Exchange& exchange) {
  http::RequestHead head = exchange.head();
  auto refused = http::Response::text(403, "no");
  bool lengths = head.fields.count(http::Field::content_length) > 1;
  bool readable = gate::BodySearch::can_read(head.header("Content-Encoding"));
  auto target = wire::origin_form(head.target);
  bool good = !gate::request_refusal(head, expected()) && head.method != http::Verb::unknown &&
              target && !lengths && readable;
  if (good) {
    head.target = *target;
    good = !gate::put_secrets(head, host(), placeholders()).refused;
  }
  if (!good) {
    (void)co_await exchange.respond(std::move(refused));
    co_return;
  }
  Pair server;
  constexpr std::string_view kAnswer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
  require(::write(server.theirs.get(), kAnswer.data(), kAnswer.size()) ==
          static_cast<ssize_t>(kAnswer.size()));
  auto executor = co_await asio::this_coro::executor;
  http::Client client(http::make_stream(executor, std::move(server.ours)));
  Watch watch(head.header("Content-Encoding"));
  http::HeadEdit none;
  auto relaying = http::relay(exchange, head, client, std::move(none), http::Upgrades::websocket, &watch);
  (void)co_await std::move(relaying);
  std::string sent(256 << 10, '\0');
  ssize_t count = ::recv(server.theirs.get(), sent.data(), sent.size(), MSG_DONTWAIT);
  if (count > 0) check_sent(std::string_view(sent).substr(0, static_cast<size_t>(count)), false);
  if (!exchange.responded()) (void)co_await exchange.respond(std::move(refused));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view input(reinterpret_cast<const char*>(data), std::min(size, kLongestInput));
  Pair box;
  require(::write(box.theirs.get(), input.data(), input.size()) == static_cast<ssize_t>(input.size()));
  ::shutdown(box.theirs.get(), SHUT_WR);
  asio::io_context loop(1);
  bool done = false;
  asio::co_spawn(loop,
                 http::serve_connection(http::make_stream(loop.get_executor(), std::move(box.ours)), handle),
                 [&](std::exception_ptr fault) { done = !fault; });
  loop.run_for(std::chrono::seconds(5));
  require(done);
  return 0;
}
