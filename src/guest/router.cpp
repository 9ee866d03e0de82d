#include "guest/router.h"

#include "base/log.h"
#include "guest/rpc.h"
#include "wire/connect.h"
#include "wire/json_text.h"
#include "wire/signature.h"

namespace hako::guest {
namespace {

constexpr size_t kLargestInit = 1 << 20;

/// The answer to a browser that asks whether it may ask.
http::Response preflight() {
  auto response = http::Response::empty(204);
  response.fields.set(http::Field::access_control_allow_methods, "GET, POST, OPTIONS");
  response.fields.set(http::Field::access_control_allow_headers, "*, Authorization");
  response.fields.set(http::Field::access_control_max_age, "7200");
  return response;
}

}  // namespace

bool Router::authorized(const http::RequestHead& head) const {
  const std::string& token = context_.identity.access_token();
  return token.empty() || wire::equal_secrets(head.header("X-Access-Token"), token);
}

Task<void> Router::handle(http::Exchange& exchange) {
  const http::RequestHead& head = exchange.head();
  std::string_view path = head.path();
  bool get = head.method == http::Verb::get, post = head.method == http::Verb::post;
  if (path == "/health" && get) {
    co_await send(exchange, http::Response::empty(204));
  } else if (path == "/init" && post) {
    co_await init(exchange);
  } else if (head.method == http::Verb::options && !head.header("Origin").empty()) {
    co_await send(exchange, preflight());
  } else if (path == "/files" && (get || post)) {
    co_await files_.handle(exchange);
  } else if (!authorized(head)) {
    co_await send_error(exchange, 401, "unauthorized access, please provide a valid access token");
  } else if (post && path.find('.') != std::string_view::npos) {
    co_await handle_rpc(path, exchange);
  } else if (path == "/files/compose" && post) {
    co_await files_.compose(exchange);
  } else if (path == "/envs" && get) {
    co_await send_json(exchange, 200, environment_body());
  } else if (path == "/metrics" && get) {
    co_await send_json(exchange, 200, metrics_.sample());
  } else {
    co_await send_error(exchange, 404, "no such path");
  }
}

Task<void> Router::handle_rpc(std::string_view path, http::Exchange& exchange) {
  constexpr std::string_view kProcess = "/process.Process/";
  constexpr std::string_view kFilesystem = "/filesystem.Filesystem/";
  bool known = false;
  if (path.starts_with(kProcess)) {
    known = co_await processes_.handle(path.substr(kProcess.size()), exchange);
  } else if (path.starts_with(kFilesystem)) {
    known = co_await filesystem_.handle(path.substr(kFilesystem.size()), exchange);
  }
  if (known) co_return;
  Error error(ErrorCode::unsupported, "no such method");
  co_await send_json(exchange, 404, wire::connect_error_body(error));
}

Task<void> Router::init(http::Exchange& exchange) {
  // Whoever may name the machine is told by where the request comes from: the address of the host
  // on this link, which nobody else can have.
  if (exchange.peer_address() != context_.settings.host_address) {
    co_await send_error(exchange, 404, "no such path");
    co_return;
  }
  auto body = co_await exchange.read_body(kLargestInit);
  if (!body) {
    co_await send_error(exchange, http::status_of(body.error().code()), body.error().message());
    co_return;
  }
  auto request = wire::parse_object(body.value());
  Result<void> applied = ok();
  if (request) {
    applied = context_.identity.apply(request.value());
  } else {
    applied = std::move(request).error();
  }
  if (applied) {
    co_await send(exchange, http::Response::empty(204));
    co_return;
  }
  ErrorCode code = applied.error().code();
  unsigned status = code == ErrorCode::failed_precondition ? 409
                    : code == ErrorCode::invalid_argument  ? 400
                                                           : 500;
  log_warn("init_refused", {{"error", applied.error().message()}});
  co_await send_error(exchange, status, applied.error().message());
}

std::string Router::environment_body() const {
  std::string body = "{";
  for (const auto& [name, value] : context_.identity.environment()) {
    if (body.size() > 1) body += ',';
    wire::append_json_string(body, name);
    body += ':';
    wire::append_json_string(body, value);
  }
  body += '}';
  return body;
}

}  // namespace hako::guest
