#include "guest/router.h"

#include "base/log.h"
#include "guest/connections.h"
#include "guest/generation.h"
#include "guest/rpc.h"
#include "wire/connect.h"
#include "wire/json_text.h"
#include "wire/signature.h"

namespace hako::guest {
namespace {

constexpr size_t kLargestInit = 1 << 20;

unsigned host_status(const Error& error) {
  switch (error.code()) {
    case ErrorCode::failed_precondition:
    case ErrorCode::unavailable:
      return 409;
    case ErrorCode::invalid_argument:
      return 400;
    case ErrorCode::unsupported:
      return 501;
    case ErrorCode::timed_out:
      return 504;
    default:
      return 500;
  }
}

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
  if (path == "/health" && head.method == http::Verb::get) {
    co_await send(exchange, http::Response::empty(204));
    co_return;
  }
  bool of_host = co_await handle_host_call(path, exchange);
  if (of_host) co_return;
  co_await context_.freezer.wait_until_thawed();
  // In a copy of the machine, what was asked of the one it was copied from must not be done again.
  if (!exchange.connected()) {
    exchange.abort();
    co_return;
  }
  co_await handle_user_call(path, exchange);
}

Task<void> Router::handle_user_call(std::string_view path, http::Exchange& exchange) {
  const http::RequestHead& head = exchange.head();
  bool get = head.method == http::Verb::get, post = head.method == http::Verb::post;
  if (head.method == http::Verb::options && !head.header("Origin").empty()) {
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

Task<bool> Router::handle_host_call(std::string_view path, http::Exchange& exchange) {
  bool known = path == "/init" || path == "/freeze" || path == "/thaw";
  if (!known || exchange.head().method != http::Verb::post) co_return false;
  // Whoever may name the machine, or stop it, is told by where the request comes from: the address
  // of the host on this link, which nobody else can have.
  if (exchange.peer_address() != context_.settings.host_address) {
    co_await send_error(exchange, 404, "no such path");
  } else if (path == "/init") {
    co_await init(exchange);
  } else if (path == "/freeze") {
    co_await freeze(exchange);
  } else {
    co_await thaw(exchange);
  }
  co_return true;
}

Task<void> Router::init(http::Exchange& exchange) {
  auto body = co_await exchange.read_body(kLargestInit);
  if (!body) {
    co_await send_error(exchange, http::status_of(body.error().code()), body.error().message());
    co_return;
  }
  auto request = wire::parse_object(body.value());
  Result<void> applied = ok();
  if (request) {
    applied = become(request.value(), exchange.peer_port());
  } else {
    applied = std::move(request).error();
  }
  if (applied) {
    co_await send(exchange, http::Response::empty(204));
    co_return;
  }
  log_warn("init_refused", {{"error", applied.error().message()}});
  co_await send_error(exchange, host_status(applied.error()), applied.error().message());
}

/// What must be true before programs go on comes before they do; that they are told is the last.
Result<void> Router::become(const boost::json::object& init, uint16_t peer_port) {
  Identity& identity = context_.identity;
  HAKO_TRYV(identity.apply(init));
  if (context_.settings.owns_machine && !identity.stays_as_it_was(Remedy::connections)) {
    auto cut = cut_connections(peer_port);
    // The host answers what is sent on them with a reset: only those who just wait hear nothing.
    if (!cut && cut.error().code() != ErrorCode::unsupported) return std::move(cut).error();
    if (!cut) log_warn("connections_not_cut", {{"error", cut.error().message()}});
  }
  if (context_.settings.owns_machine && !identity.stays_as_it_was(Remedy::generation)) {
    HAKO_TRYV(tell_generation(identity.generation()));
  }
  return context_.freezer.thaw();
}

Task<void> Router::freeze(http::Exchange& exchange) {
  auto frozen = co_await context_.freezer.freeze();
  if (!frozen) {
    log_warn("not_frozen", {{"error", frozen.error().message()}});
    co_await send_error(exchange, host_status(frozen.error()), frozen.error().message());
    co_return;
  }
  bool sent = co_await send(exchange, http::Response::empty(204));
  if (sent) co_return;
  // Nobody knows that it is frozen, so nobody would say that it may go on.
  if (auto thawed = context_.freezer.thaw(); !thawed)
    log_error("not_thawed", {{"error", thawed.error().message()}});
}

Task<void> Router::thaw(http::Exchange& exchange) {
  auto thawed = context_.freezer.thaw();
  if (thawed) {
    co_await send(exchange, http::Response::empty(204));
  } else {
    co_await send_error(exchange, host_status(thawed.error()), thawed.error().message());
  }
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
