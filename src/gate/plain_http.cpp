#include "gate/plain_http.h"

#include "http/relay.h"
#include "http/server.h"
#include "wire/routing.h"

namespace hako::gate {
namespace {

using namespace std::chrono_literals;

http::ServerLimits limits() {
  http::ServerLimits limits;
  limits.header_time = 10s;
  limits.idle = 600s;
  limits.stall = 600s;
  return limits;
}

Task<void> say(http::Exchange& exchange, unsigned status, std::string_view reason) {
  auto response = http::Response::text(status, "hako: " + std::string(reason) + "\n");
  (void)co_await exchange.respond(std::move(response));
}

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
    co_await pass_on(exchange, std::move(head));
  }

 private:
  Task<void> pass_on(http::Exchange& exchange, http::RequestHead head) {
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
      auto outcome =
          co_await http::relay(exchange, head, *server_, {}, http::Upgrades::websocket);
      if (outcome != http::RelayOutcome::reusable) server_.reset();
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
  co_await http::serve_connection(std::move(client), handler, limits());
}

Task<void> refuse_http(http::Stream client, std::string reason) {
  http::ServerLimits short_limits = limits();
  short_limits.idle = 10s;
  short_limits.stall = 10s;
  http::Handler handler = [&reason](http::Exchange& exchange) {
    return say(exchange, 403, reason);
  };
  co_await http::serve_connection(std::move(client), handler, short_limits);
}

}  // namespace hako::gate
