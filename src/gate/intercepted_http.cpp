#include "gate/intercepted_http.h"

#include "base/encoding.h"
#include "gate/masked_stream.h"
#include "gate/model_call.h"
#include "gate/outward_http.h"
#include "gate/secret_swap.h"
#include "gate/walls.h"
#include "http/relay.h"
#include "wire/ascii.h"
#include "wire/routing.h"

namespace hako::gate {
namespace {

bool is_compressed(const http::Fields& fields) {
  auto [first, last] = fields.equal_range(http::Field::content_encoding);
  return std::any_of(first, last, [](const auto& field) {
    std::string_view value(field.value().data(), field.value().size());
    return !value.empty() && !wire::equal_ignoring_case(value, "identity");
  });
}

bool has_no_body(unsigned status) {
  return status == 204 || status == 304;
}

std::string secret_rule(const std::string& secret) {
  return secret.empty() ? "secret" : "secret " + secret;
}

/// Looks at one exchange as it passes.
class Watch final : public http::RelayWatcher {
 public:
  Watch(http::Exchange& exchange, const http::RequestHead& head, BoxSecretsRef secrets,
        const HostSecrets& host, ModelCall* call, const InterceptedHttp& way)
      : exchange_(exchange),
        secrets_(std::move(secrets)),
        host_(host),
        call_(call),
        way_(way),
        head_request_(head.method == http::Verb::head),
        body_(secrets_->placeholders, head.header("Content-Encoding")),
        mask_(host) {}

  bool sent(std::string_view piece) override {
    if (!stands(Wall::placeholders)) return true;
    refusal = body_.refusal_of(piece);
    if (refusal.empty() && piece.empty()) look_at_trailers();
    return refusal.empty();
  }

  void answered(unsigned) override {}
  void received(size_t) override {}

  void failed(const Error& error) override {
    if (error.code() == ErrorCode::corrupted)
      way_.note("secret", "denied", secret_rule({}), error.message());
  }

  bool answering(http::ResponseHead& head) override {
    if (call_) call_->answered(head);
    bool matters = call_ || !host_.values.empty();
    if (matters && is_compressed(head.fields) && !head_request_ && !has_no_body(head.status) &&
        stands(Wall::echoes)) {
      problem = "the answer is compressed, though that was not asked for, and cannot be looked at";
      return false;
    }
    head_masked_ = mask_fields(head.fields, host_);
    return true;
  }

  std::optional<std::string_view> passing(std::string_view piece) override {
    if (call_ && !piece.empty()) call_->feed(piece);
    return mask_.pass(piece);
  }

  void switched(http::Stream& upstream, std::string& pending) override {
    mask_stream(upstream, pending, secrets_, host_);
    way_.switched();
  }

  size_t masked() const { return head_masked_ + mask_.masked(); }
  const std::string& secret() const { return secret_.empty() ? body_.secret() : secret_; }

  std::string refusal;  ///< why the request did not pass
  std::string problem;  ///< why its answer did not

 private:
  void look_at_trailers() {
    for (const auto& field : exchange_.trailers()) {
      std::string_view value(field.value().data(), field.value().size());
      if (auto secret = secrets_->placeholders.find_in(value)) {
        secret_ = *secret;
        refusal = "in a header behind the body";
      }
    }
  }

  http::Exchange& exchange_;
  BoxSecretsRef secrets_;
  const HostSecrets& host_;
  ModelCall* call_;
  const InterceptedHttp& way_;
  bool head_request_;
  BodySearch body_;
  AnswerMask mask_;
  size_t head_masked_ = 0;
  std::string secret_;
};

/// The requests of one connection, over one connection at a time to the host.
class InterceptedRequests {
 public:
  explicit InterceptedRequests(InterceptedHttp way) : way_(std::move(way)) {}
  ~InterceptedRequests() {
    if (server_ && server_->reusable()) way_.keep(std::move(*server_));
  }
  InterceptedRequests(const InterceptedRequests&) = delete;

  Task<void> handle(http::Exchange& exchange) {
    http::RequestHead head = exchange.head();
    std::string box = way_.box;
    auto secrets = co_await way_.broker.secrets(std::move(box));
    if (!secrets) {
      std::string reason = "its secrets are not at hand: " + secrets.error().message();
      co_return co_await refuse(exchange, 503, std::string(), std::move(reason));
    }
    auto host = secrets.value()->host(way_.expected.name, way_.expected.port);
    if (!host) co_return co_await refuse(exchange, 403, std::string(), "no secret is for this host any more");
    if (auto reason = request_refusal(head, way_.expected))
      co_return co_await refuse(exchange, 403, std::string(), std::move(*reason));
    // It would reach the server under another name.
    if (head.method == http::Verb::unknown)
      co_return co_await refuse(exchange, 501, std::string(), "this method is not relayed");
    if (head.fields.count(http::Field::content_length) > 1)
      co_return co_await refuse(exchange, 400, std::string(), "a request with several lengths");
    if (!BodySearch::can_read(head.header("Content-Encoding")) ||
        head.fields.count(http::Field::content_encoding) > 1)
      co_return co_await refuse(exchange, 415, {},
                                "a request's body that is compressed cannot be looked at");
    if (head.target != "*") {
      auto target = wire::origin_form(head.target);
      if (!target) co_return co_await refuse(exchange, 400, std::string(), "bad request target");
      head.target = std::move(*target);
    }
    if (has_foreign_placeholder(head))
      co_return co_await refuse(exchange, 403, std::string(), "the placeholder of another box");
    if (host->model) co_return co_await call_model(exchange, std::move(head), secrets.value(), *host);
    co_await put_and_pass(exchange, std::move(head), secrets.value(), *host, nullptr, nullptr);
  }

 private:
  /// Of the ways to use one, as it would have to stand there. It is worth nothing here; but whoever has
  /// it has it from there.
  bool has_foreign_placeholder(const http::RequestHead& head) const {
    if (!stands(Wall::placeholders)) return false;
    return std::any_of(head.fields.begin(), head.fields.end(), [this](const auto& field) {
      std::string_view value(field.value().data(), field.value().size());
      std::string_view last = value.substr(value.rfind(' ') + 1);
      auto pair = base64_decode(last);
      std::string_view password;
      if (pair) password = std::string_view(*pair).substr(pair->find(':') + 1);
      return std::ranges::any_of(std::initializer_list<std::string_view>{value, last, password},
                                 [this](std::string_view text) {
                                   return way_.broker.is_of_another(way_.box, text);
                                 });
    });
  }

  Task<void> refuse(http::Exchange& exchange, unsigned status, std::string secret,
                    std::string reason) {
    way_.note("secret", "denied", secret_rule(secret), reason);
    co_await say(exchange, status, reason);
  }

  Task<void> refuse_call(http::Exchange& exchange, const HostSecrets& host, std::string model,
                         ModelCall::Refusal refusal) {
    way_.note("model", "denied", model.empty() ? "model" : "model " + model, refusal.reason);
    auto response = model_refusal(*host.model, refusal);
    (void)co_await exchange.respond(std::move(response));
  }

  Task<void> call_model(http::Exchange& exchange, http::RequestHead head, BoxSecretsRef secrets,
                        const HostSecrets& host) {
    auto method = boost::beast::http::to_string(head.method);
    auto route = wire::route_model_request(*host.model, {method.data(), method.size()}, head.target);
    ModelCall::Refusal refusal;
    if (!route)
      refusal.reason = route.error().message();
    else if (!head.header("Upgrade").empty())
      refusal.reason = "what a connection with another protocol costs cannot be counted";
    else if (!route.value().free && is_compressed(head.fields))
      refusal = {415, "a compressed call cannot be counted"};
    else
      refusal.reason = odd_head(head);
    if (!refusal.reason.empty() && stands(Wall::counted))
      co_return co_await refuse_call(exchange, host, std::string(), std::move(refusal));
    // What would be refused is not read, and not paid for.
    http::RequestHead tried = head;
    auto swapped = put_secrets(tried, host, secrets->placeholders);
    if (swapped.refused)
      co_return co_await refuse(exchange, 403, swapped.refused->secret, swapped.refused->reason);
    if (host.by_secret) refusal.reason = other_key(tried, swapped, host);
    if (!refusal.reason.empty())
      co_return co_await refuse_call(exchange, host, std::string(), std::move(refusal));
    if (!route || route.value().free)
      co_return co_await put_and_pass(exchange, std::move(head), secrets, host, nullptr, nullptr);
    BodyRoom::Taken taken(way_.bodies, way_.box);
    auto body = co_await read_call(exchange, taken);
    if (!body) {
      bool large = body.error().code() == ErrorCode::too_large;
      if (!large && body.error().code() != ErrorCode::resource_exhausted) co_return exchange.abort();
      refusal = {large ? 413u : 503u, body.error().message()};
      co_return co_await refuse_call(exchange, host, std::string(), std::move(refusal));
    }
    BodySearch search(secrets->placeholders, {});
    auto found = stands(Wall::placeholders) ? search.refusal_of(body.value()) : std::string();
    if (!found.empty())
      co_return co_await refuse(exchange, 403, search.secret(), misplaced(search.secret(), found));
    ModelCaller caller{way_.broker, way_.box, way_.expected.name, way_.expected.port, *host.model};
    ModelCall call(std::move(caller));
    std::string path(head.path());
    auto refused = co_await call.begin(route.value(), std::move(path), body.value());
    if (refused) co_return co_await refuse_call(exchange, host, call.model(), std::move(*refused));
    way_.note("model", "allowed", "model " + call.model(), std::string(head.path()));
    head.fields.erase(http::Field::transfer_encoding);
    head.fields.set(http::Field::content_length, std::to_string(body.value().size()));
    co_await put_and_pass(exchange, std::move(head), secrets, host, &call, &body.value());
  }

  static std::string misplaced(const std::string& secret, const std::string& where) {
    if (secret.empty()) return where;
    return "the placeholder of " + secret + " " + where + ", where it does not belong";
  }

  Task<void> put_and_pass(http::Exchange& exchange, http::RequestHead head, BoxSecretsRef secrets,
                          const HostSecrets& host, ModelCall* call, const std::string* body) {
    auto outcome = put_secrets(head, host, secrets->placeholders);
    if (outcome.refused)
      co_return co_await refuse(exchange, 403, outcome.refused->secret, outcome.refused->reason);
    bool repeatable = !head.has_body() && !call;
    for (;;) {
      if (server_ && server_->stale()) server_.reset();
      if (!server_) server_ = way_.spare();
      bool reused = server_.has_value();
      if (!server_) {
        auto connected = co_await way_.connect();
        if (!connected) {
          way_.note("secret", "denied", secret_rule({}), connected.error().message());
          co_return co_await say(exchange, 502, connected.error().message());
        }
        server_.emplace(std::move(connected).value());
      }
      for (const auto& secret : outcome.used)
        way_.note("secret", "allowed", secret_rule(secret), "put into a request");
      if (call) call->sent();
      Watch watch(exchange, head, secrets, host, call, way_);
      http::HeadEdit no_edit;
      auto how = co_await http::relay(exchange, head, *server_, std::move(no_edit),
                                      http::Upgrades::websocket, &watch, body);
      if (how != http::RelayOutcome::reusable) server_.reset();
      if (call) call->end(how == http::RelayOutcome::reusable || how == http::RelayOutcome::finished);
      if (watch.masked() > 0)
        way_.note("secret", "denied", secret_rule({}), "the answer had a secret in it, which was masked");
      if (!watch.refusal.empty() || !watch.problem.empty())
        co_return co_await stop(exchange, watch);
      if (how != http::RelayOutcome::refused) co_return;
      // It may have closed a kept connection just then; a new one tells more.
      if (reused && repeatable) continue;
      co_return co_await say(exchange, 502, "the server did not answer the request");
    }
  }

  Task<void> stop(http::Exchange& exchange, const Watch& watch) {
    bool asked = !watch.refusal.empty();
    std::string reason = asked ? misplaced(watch.secret(), watch.refusal) : watch.problem;
    way_.note("secret", "denied", secret_rule(watch.secret()), reason);
    if (!exchange.responded()) co_await say(exchange, asked ? 403 : 502, reason);
  }

  InterceptedHttp way_;
  std::optional<http::Client> server_;
};

}  // namespace

Task<void> relay_intercepted(http::Stream client, InterceptedHttp way) {
  auto note = way.note;
  InterceptedRequests requests(std::move(way));
  http::Handler handler = [&requests](http::Exchange& exchange) {
    return requests.handle(exchange);
  };
  http::Malformed malformed = [note](std::string_view reason) {
    note("secret", "denied", "secret", std::string(reason));
  };
  co_await http::serve_connection(std::move(client), handler, outward_limits(),
                                  std::move(malformed));
}

}  // namespace hako::gate
