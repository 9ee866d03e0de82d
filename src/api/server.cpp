#include "api/server.h"

#include "api/authority.h"
#include "api/egress_policy.h"
#include "api/template_files.h"
#include "api/walls.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/random.h"

namespace hako::api {
namespace json = boost::json;
using http::Response;
using namespace std::chrono_literals;

namespace {

constexpr auto kBodyDeadline = 30s;
constexpr size_t kRequestIdBytes = 8;
/// As E2B calls it. Nobody knows when there is room again; asking sooner would be of little use.
constexpr std::string_view kNoCapacity = "sandbox_capacity_unavailable";
constexpr auto kFullRetry = 10s;

/// A path as it may be repeated: it need not be UTF-8, and JSON must.
std::string printable(std::string_view path) {
  std::string text(path.substr(0, 200));
  for (char& c : text) {
    if (c <= ' ' || c > '~') c = '?';
  }
  return text;
}

/// What clients of E2B know and this server has not got.
constexpr std::string_view kNotBuilt[] = {"/volumes",  "/volumecontent", "/teams",
                                          "/api-keys", "/access-tokens", "/nodes",   "/admin"};

bool is_not_built(std::string_view path) {
  for (std::string_view area : kNotBuilt) {
    if (path.substr(0, area.size()) != area) continue;
    if (path.size() == area.size() || path[area.size()] == '/') return true;
  }
  return false;
}

Response not_routed(const http::RequestHead& head, const Match& match) {
  std::string path = printable(head.path());
  if (is_not_built(head.path())) {
    return http::error_response(501, path + " is not supported by this server");
  }
  if (match.allowed.empty()) {
    return http::error_response(404,
                                printable(head.method_text) + " " + path + " does not exist here");
  }
  Response response = http::error_response(405, path + " answers only " + match.allowed);
  response.fields.set(http::Field::allow, match.allowed);
  return response;
}

policy::Decision may_call(const Route& route, const Principal& who) {
  if (!route.action || !stands(Wall::actions)) {
    return policy::Decision::allow("permission", "any caller may");
  }
  return policy::may(who.permission, *route.action, to_unix_ms(WallClock::now()));
}

/// One of so many, for as long as it exists.
class Counted {
 public:
  explicit Counted(size_t& count) : count_(count) { ++count_; }
  Counted(const Counted&) = delete;
  Counted& operator=(const Counted&) = delete;
  ~Counted() { --count_; }

 private:
  size_t& count_;
};

struct Done {
  std::string id;
  std::string_view route;
  unsigned status = 0;
  std::chrono::steady_clock::duration took{};
};

void log_done(const http::RequestHead& head, const Done& done) {
  json::object fields;
  fields["request"] = done.id;
  fields["method"] = printable(head.method_text);
  // The pattern and not the path, which is a stranger's text.
  fields["route"] = done.route.empty() ? "none" : std::string(done.route);
  fields["status"] = done.status;
  fields["ms"] = std::chrono::duration<double, std::milli>(done.took).count();
  bool ours = done.status >= 500 && done.status != 501 && done.status != 503;
  log(ours ? LogLevel::warn : LogLevel::debug, "request", std::move(fields));
}

}  // namespace

Response response_for(const Error& error) {
  bool full = error.code() == ErrorCode::no_capacity;
  Response response = http::error_response(error, full ? kNoCapacity : "");
  if (full || error.code() == ErrorCode::unavailable ||
      error.code() == ErrorCode::resource_exhausted) {
    auto wait = std::max(error.retry_after(), full ? kFullRetry : std::chrono::seconds(1));
    response.fields.set(http::Field::retry_after, std::to_string(wait.count()));
  }
  return response;
}

Task<void> Server::handle(http::Exchange& exchange) {
  if (is_data_plane(exchange.head())) {
    co_await pass_on(exchange);
    co_return;
  }
  if (TemplateFiles::is_upload(exchange.head())) {
    co_await service_.files.serve(exchange);
    co_return;
  }
  auto began = std::chrono::steady_clock::now();
  const http::RequestHead& head = exchange.head();
  Match match = match_route(routes(), head.method, head.path());
  CallFacts facts;
  facts.request = random_hex(kRequestIdBytes);
  facts.source = exchange.peer_address();
  Done done;
  done.id = facts.request;
  Response response = co_await answer(exchange, head, match, facts);
  bool known = facts.known;
  co_await record(head, match, std::move(facts), response);
  done.route = match.route ? match.route->pattern : std::string_view();
  done.status = response.status;
  done.took = std::chrono::steady_clock::now() - began;
  log_done(head, done);
  response.fields.set("X-Request-Id", done.id);
  // The gate, which alone comes without an address, keeps the connection of whoever is known.
  if (known && exchange.peer_address().empty()) {
    response.fields.set(http::kKnownCaller, "1");
  }
  co_await send(exchange, std::move(response));
}

/// A client that has gone needs no answer.
Task<void> Server::send(http::Exchange& exchange, Response response) {
  if (!response.more) {
    (void)co_await exchange.respond(std::move(response));
    co_return;
  }
  http::ResponseHead head{response.status, std::move(response.fields)};
  auto sent = co_await exchange.begin(std::move(head));
  std::string piece = std::move(response.body);
  while (sent) {
    if (!piece.empty()) {
      sent = co_await exchange.write(asio::buffer(piece));
      if (!sent) break;
    }
    auto next = co_await response.more();
    if (!next) break;
    piece = std::move(next.value());
    if (!piece.empty()) continue;
    (void)co_await exchange.end();
    co_return;
  }
  exchange.abort();
}

Task<void> Server::record(const http::RequestHead& head, const Match& match, CallFacts facts,
                          Response& response) {
  auto recorded = co_await service_.trail.called(head, match, std::move(facts), response);
  if (!recorded) response = response_for(recorded.error());
}

Task<Response> Server::answer(http::Exchange& exchange, const http::RequestHead& head,
                              const Match& match, CallFacts& facts) {
  bool open = match.route && match.route->open;
  size_t& strangers = open ? open_calls_ : authenticating_;
  if (strangers >= (open ? kMostOpenCalls : kMostAuthenticating)) {
    Error busy(ErrorCode::unavailable, "too many requests at once; try again");
    co_return response_for(busy);
  }
  std::optional<Counted> stranger(std::in_place, strangers);

  Principal who = nobody();
  if (!open) {
    // Before anything is said about which paths there are.
    auto authenticated = co_await service_.authority.authenticate(head);
    if (!authenticated) co_return response_for(authenticated.error());
    who = std::move(authenticated.value());
    facts.is_by(who);
    exchange.vouch();
    stranger.reset();
  }
  std::optional<TenantLimits::Turn> turn;
  if (!who.tenant.empty()) {
    auto taken = co_await service_.limits.take_call(who.tenant);
    if (!taken) co_return response_for(taken.error());
    turn.emplace(std::move(taken.value()));
  }
  if (!match.route) co_return not_routed(head, match);
  // Whatever the path names, and whether it is there: so this tells nothing about it.
  auto permitted = may_call(*match.route, who);
  if (!permitted.allowed) co_return response_for(refused_by(permitted));
  if (auto recordable = service_.trail.may_begin(match, head); !recordable) {
    co_return response_for(recordable.error());
  }
  auto body = co_await with_deadline(kBodyDeadline, exchange.read_body(kLargestBody));
  if (!body && body.error().code() == ErrorCode::too_large) {
    co_return http::error_response(
        413, "the body must have at most " + std::to_string(kLargestBody) + " bytes");
  }
  if (!body && body.error().code() == ErrorCode::timed_out) {
    co_return http::error_response(408, "the body did not arrive in time");
  }
  if (!body) co_return http::error_response(400, "the body could not be read");

  if (head.method != http::Verb::get) facts.fields = names_in_body(body.value());
  Call call{head, match.parameters, std::move(body.value()), std::move(who)};
  call.client_gone = [&exchange] { return exchange.closed_by_client(); };
  call.source = exchange.peer_address();
  // The gate says it of all that it brings. Whoever else does deceives nobody but themselves.
  call.encrypted = exchange.is_encrypted() || head.header("X-Forwarded-Proto") == "https";
  call.queues = [&turn] { turn.reset(); };
  auto response = co_await match.route->handler(service_, call);
  if (!response) co_return response_for(response.error());
  co_return std::move(response.value());
}

}  // namespace hako::api
