#include "gate/plain_http.h"

#include "gate/outward_http.h"
#include "gate/placeholder_search.h"
#include "gate/secret_swap.h"
#include "gate/walls.h"
#include "http/relay.h"
#include "wire/routing.h"

namespace hako::gate {
namespace {

using namespace std::chrono_literals;

constexpr char kInClear[] = "the placeholder of a secret, without TLS";

/// Lets nothing of a body pass that has a placeholder in it.
class PlaceholderWatch final : public http::RelayWatcher {
 public:
  PlaceholderWatch(const PlaceholderSet& placeholders, std::string_view encoding)
      : search_(placeholders, encoding) {}

  bool sent(std::string_view piece) override {
    found_ = found_ || !search_.refusal_of(piece).empty();
    return !found_;
  }
  void answered(unsigned) override {}
  void received(size_t) override {}
  bool found() const { return found_; }

 private:
  BodySearch search_;
  bool found_ = false;
};

/// The requests of one connection, over one connection at a time to the server.
class Requests {
 public:
  explicit Requests(PlainHttp way) : way_(std::move(way)) {}

  Task<void> handle(http::Exchange& exchange) {
    http::RequestHead head = exchange.head();
    if (auto reason = request_refusal(head, way_.expected)) {
      way_.refused(*reason);
      co_return co_await say(exchange, 403, *reason);
    }
    // It would reach the server under another name.
    if (head.method == http::Verb::unknown)
      co_return co_await say(exchange, 501, "this method is not relayed");
    if (head.target != "*") {
      auto target = wire::origin_form(head.target);
      if (!target) co_return co_await say(exchange, 400, "bad request target");
      head.target = std::move(*target);
    }
    if (!way_.secrets || !stands(Wall::placeholders))
      co_return co_await pass_on(exchange, std::move(head), nullptr);
    auto secrets = co_await way_.secrets();
    if (!secrets) {
      std::string reason = "its secrets are not at hand: " + secrets.error().message();
      way_.refused(reason);
      co_return co_await say(exchange, 503, reason);
    }
    const PlaceholderSet& placeholders = secrets.value()->placeholders;
    if (placeholder_in(head, placeholders)) co_return co_await refuse_in_clear(exchange);
    // What is compressed in a way that nobody here reads is nobody's to read on the wire either.
    std::string encoding(head.header("Content-Encoding"));
    if (!BodySearch::can_read(encoding)) encoding.clear();
    PlaceholderWatch watch(placeholders, encoding);
    co_await pass_on(exchange, std::move(head), &watch);
    if (watch.found()) co_await refuse_in_clear(exchange);
  }

 private:
  Task<void> refuse_in_clear(http::Exchange& exchange) {
    way_.refused(kInClear);
    if (!exchange.responded()) co_await say(exchange, 403, kInClear);
  }

  Task<void> pass_on(http::Exchange& exchange, http::RequestHead head, PlaceholderWatch* watch) {
    bool repeatable = !head.has_body();
    for (;;) {
      if (server_ && server_->stale()) server_.reset();
      bool reused = server_.has_value();
      if (!server_) {
        auto connected = co_await way_.connect();
        if (!connected) co_return co_await say(exchange, 502, connected.error().message());
        server_.emplace(std::move(connected).value());
      }
      // Behind another protocol, a later HTTP among them, no request could be judged.
      http::HeadEdit no_edit;
      auto outcome = co_await http::relay(exchange, head, *server_, std::move(no_edit),
                                          http::Upgrades::websocket, watch);
      if (outcome != http::RelayOutcome::reusable) server_.reset();
      if (watch && watch->found()) co_return;
      if (outcome != http::RelayOutcome::refused) co_return;
      // It may have closed a kept connection just then; a new one tells more.
      if (reused && repeatable) continue;
      co_return co_await say(exchange, 502, "the server did not answer the request");
    }
  }

  PlainHttp way_;
  std::optional<http::Client> server_;
};

}  // namespace

Task<void> relay_http(http::Stream client, PlainHttp way) {
  Requests requests(std::move(way));
  http::Handler handler = [&requests](http::Exchange& exchange) {
    return requests.handle(exchange);
  };
  co_await http::serve_connection(std::move(client), handler, outward_limits());
}

Task<void> refuse_http(http::Stream client, std::string reason) {
  http::ServerLimits short_limits = outward_limits();
  short_limits.idle = 10s;
  short_limits.stall = 10s;
  http::Handler handler = [&reason](http::Exchange& exchange) {
    return say(exchange, 403, reason);
  };
  co_await http::serve_connection(std::move(client), handler, short_limits);
}

}  // namespace hako::gate
