#include "api/server.h"

#include "api/egress_control.h"
#include "api/keys.h"
#include "api/template_files.h"
#include "api/upload_label.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/random.h"
#include "wire/signature.h"

namespace hako::api {
namespace json = boost::json;
using http::Response;
using namespace std::chrono_literals;

namespace {

constexpr auto kBodyDeadline = 30s;
constexpr size_t kRequestIdBytes = 8;
constexpr size_t kLongestKey = 128;

/// A path as it may be repeated: it need not be UTF-8, and JSON must.
std::string printable(std::string_view path) {
  std::string text(path.substr(0, 200));
  for (char& c : text) {
    if (c <= ' ' || c > '~') c = '?';
  }
  return text;
}

/// What clients of E2B know and this server has not got.
constexpr std::string_view kNotBuilt[] = {"/volumes",  "/volumecontent", "/secrets", "/teams",
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
  Response response = http::error_response(error);
  if (error.code() == ErrorCode::unavailable || error.code() == ErrorCode::resource_exhausted) {
    response.fields.set(http::Field::retry_after, "1");
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
  Response response = co_await answer(exchange, head, match);
  Done done;
  done.id = random_hex(kRequestIdBytes);
  done.route = match.route ? match.route->pattern : std::string_view();
  done.status = response.status;
  done.took = std::chrono::steady_clock::now() - began;
  log_done(head, done);
  response.fields.set("X-Request-Id", done.id);
  // A client that has gone needs no answer.
  (void)co_await exchange.respond(std::move(response));
}

Task<void> Server::pass_on(http::Exchange& exchange) {
  http::RequestHead head = exchange.head();
  auto admitted = co_await admit(head);
  if (!admitted) {
    auto response = response_for(admitted.error());
    (void)co_await exchange.respond(std::move(response));
    co_return;
  }
  co_await data_plane_.serve(exchange, std::move(head));
}

Task<Result<void>> Server::admit(http::RequestHead& head) {
  HAKO_CO_TRY(auto upload, take_upload_label(head));
  if (!upload) co_return ok();
  auto found = co_await service_.store.find_sandbox(upload->box);
  if (!found) co_return error_for_user(found.error(), "record not read");
  Principal who;
  std::string_view token = head.header("X-Access-Token");
  if (found.value() && !token.empty() &&
      wire::equal_secrets(token, found.value()->access_token)) {
    // Whoever has it was cleared for what the box held until now.
    who.clearance = label_of(found.value()->label);
  } else if (!head.header("X-API-KEY").empty()) {
    HAKO_CO_TRY(who, co_await authenticate(head));
  } else {
    co_return Error(ErrorCode::unauthenticated,
                    "an upload with a label needs the sandbox's access token or an API key");
  }
  HAKO_CO_TRYV(co_await service_.egress.raise_label(upload->box, std::move(who), upload->label,
                                                    true));
  co_return ok();
}

Task<Response> Server::answer(http::Exchange& exchange, const http::RequestHead& head,
                              const Match& match) {
  if (calls_ >= kMostCalls) {
    Error busy(ErrorCode::unavailable, "too many requests at once; try again");
    co_return response_for(busy);
  }
  struct Count {
    explicit Count(size_t& n) : n_(n) { ++n_; }
    ~Count() { --n_; }
    size_t& n_;
  } count(calls_);

  Principal who;
  if (!match.route || match.route->action) {
    // Before anything is said about which paths there are.
    auto authenticated = co_await authenticate(head);
    if (!authenticated) co_return response_for(authenticated.error());
    who = std::move(authenticated.value());
  }
  if (!match.route) co_return not_routed(head, match);
  auto body = co_await with_deadline(kBodyDeadline, exchange.read_body(kLargestBody));
  if (!body && body.error().code() == ErrorCode::too_large) {
    co_return http::error_response(
        413, "the body must have at most " + std::to_string(kLargestBody) + " bytes");
  }
  if (!body && body.error().code() == ErrorCode::timed_out) {
    co_return http::error_response(408, "the body did not arrive in time");
  }
  if (!body) co_return http::error_response(400, "the body could not be read");

  Call call{head, match.parameters, std::move(body.value()), std::move(who)};
  auto response = co_await match.route->handler(service_, call);
  if (!response) co_return response_for(response.error());
  co_return std::move(response.value());
}

Task<Result<Principal>> Server::authenticate(const http::RequestHead& head) {
  std::string_view key = head.header("X-API-KEY");
  if (key.empty()) {
    co_return Error(ErrorCode::unauthenticated, "an API key is required in the header X-API-Key");
  }
  Error invalid(ErrorCode::unauthenticated, "the API key is not valid");
  if (key.size() > kLongestKey) co_return invalid;
  auto find = [hash = hash_api_key(key), now = to_unix_ms(WallClock::now())](
                  store::TenantStore& tenants) { return tenants.find_key(hash, now); };
  auto found = co_await service_.store.with_tenants(std::move(find));
  if (!found) co_return error_for_user(found.error(), "key not looked up");
  if (!found.value()) co_return invalid;
  Principal who;
  who.key_id = found.value()->id;
  who.tenant = found.value()->tenant;
  who.clearance = clearance_of(found.value()->clearance);
  co_return who;
}

}  // namespace hako::api
