#include "guest/context.h"

#include "base/encoding.h"
#include "wire/json_text.h"

namespace hako::guest {

Result<User> find_user(Context& context, std::string_view name) {
  if (name.empty()) name = context.identity.default_user();
  if (auto user = context.users.find(name)) return std::move(*user);
  return Error(ErrorCode::unauthenticated, "unknown user '" + std::string(name) + "'");
}

Result<User> user_of_request(Context& context, const http::RequestHead& head) {
  std::string_view header = head.header("Authorization");
  constexpr std::string_view kBasic = "Basic ";
  if (!header.starts_with(kBasic)) return find_user(context, {});
  auto credentials = base64_decode(header.substr(kBasic.size()));
  if (!credentials) return Error(ErrorCode::unauthenticated, "malformed Authorization header");
  return find_user(context, std::string_view(*credentials).substr(0, credentials->find(':')));
}

unsigned rest_status(const Error& error) {
  switch (error.code()) {
    case ErrorCode::invalid_argument:
      return 400;
    case ErrorCode::unauthenticated:
      return 401;
    case ErrorCode::permission_denied:
      return 403;
    case ErrorCode::not_found:
      return 404;
    case ErrorCode::no_space:
      return 507;
    case ErrorCode::too_large:
      return 413;
    case ErrorCode::unsupported:
      return 415;
    default:
      return 500;
  }
}

void allow_origin(const http::RequestHead& head, http::Fields& fields) {
  if (head.header("Origin").empty()) return;
  fields.set(http::Field::access_control_allow_origin, "*");
  fields.set(http::Field::access_control_expose_headers,
             "Content-Encoding, Content-Length, Content-Range, Content-Type, "
             "Connect-Content-Encoding, Connect-Protocol-Version");
}

Task<bool> send(http::Exchange& exchange, http::Response response) {
  allow_origin(exchange.head(), response.fields);
  auto sent = co_await exchange.respond(std::move(response));
  co_return sent.has_value();
}

Task<bool> send_json(http::Exchange& exchange, unsigned status, std::string body) {
  http::Response response = http::Response::empty(status);
  response.fields.set(http::Field::content_type, "application/json");
  response.body = std::move(body);
  return send(exchange, std::move(response));
}

Task<bool> send_error(http::Exchange& exchange, unsigned status, std::string_view message) {
  std::string body = "{\"code\":";
  wire::append_json_number(body, status);
  body += ",\"message\":";
  wire::append_json_string(body, message);
  body += '}';
  http::Response response = http::Response::empty(status);
  response.fields.set(http::Field::content_type, "application/json; charset=utf-8");
  response.body = std::move(body);
  return send(exchange, std::move(response));
}

}  // namespace hako::guest
