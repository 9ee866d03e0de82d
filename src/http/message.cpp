#include "http/message.h"

#include "base/encoding.h"

namespace hako::http {

std::string_view RequestHead::path() const {
  return std::string_view(target).substr(0, target.find('?'));
}

std::string_view RequestHead::query() const {
  size_t mark = target.find('?');
  return mark == std::string::npos ? std::string_view() : std::string_view(target).substr(mark + 1);
}

std::optional<std::string> RequestHead::parameter(std::string_view name) const {
  std::string_view rest = query();
  while (!rest.empty()) {
    size_t end = rest.find('&');
    std::string_view pair = rest.substr(0, end);
    rest = end == std::string_view::npos ? std::string_view() : rest.substr(end + 1);
    size_t equals = pair.find('=');
    auto key = percent_decode(pair.substr(0, equals), true);
    if (!key || *key != name) continue;
    if (equals == std::string_view::npos) return std::string();
    return percent_decode(pair.substr(equals + 1), true);
  }
  return std::nullopt;
}

std::string_view RequestHead::header(std::string_view name) const {
  auto found = fields.find(boost::beast::string_view(name.data(), name.size()));
  if (found == fields.end()) return {};
  return {found->value().data(), found->value().size()};
}

bool RequestHead::has_body() const {
  std::string_view length = header("Content-Length");
  return (!length.empty() && length != "0") || !header("Transfer-Encoding").empty();
}

Response Response::json(unsigned status, const boost::json::value& value) {
  Response response;
  response.status = status;
  response.fields.set(Field::content_type, "application/json");
  response.body = boost::json::serialize(value);
  return response;
}

Response Response::text(unsigned status, std::string body) {
  Response response;
  response.status = status;
  response.fields.set(Field::content_type, "text/plain; charset=utf-8");
  response.body = std::move(body);
  return response;
}

Response Response::empty(unsigned status) {
  Response response;
  response.status = status;
  return response;
}

unsigned status_of(ErrorCode code) {
  switch (code) {
    case ErrorCode::invalid_argument:
      return 400;
    case ErrorCode::unauthenticated:
      return 401;
    case ErrorCode::permission_denied:
      return 403;
    case ErrorCode::not_found:
      return 404;
    case ErrorCode::already_exists:
      return 409;
    case ErrorCode::failed_precondition:
      return 409;
    case ErrorCode::resource_exhausted:
      return 429;
    case ErrorCode::no_capacity:
      return 503;
    case ErrorCode::no_space:
      return 507;
    case ErrorCode::too_large:
      return 413;
    case ErrorCode::timed_out:
      return 504;
    case ErrorCode::cancelled:
      return 499;
    case ErrorCode::unavailable:
      return 503;
    case ErrorCode::unsupported:
      return 501;
    case ErrorCode::corrupted:
    case ErrorCode::internal:
      return 500;
  }
  return 500;
}

Response error_response(unsigned status, std::string_view message, std::string_view name) {
  boost::json::object body;
  body["code"] = status;
  // It may quote what a client has sent, which may be any bytes.
  body["message"] = valid_utf8(std::string(message));
  if (!name.empty()) body["error_code"] = name;
  return Response::json(status, body);
}

Response error_response(const Error& error, std::string_view name) {
  return error_response(status_of(error.code()), error.message(), name);
}

}  // namespace hako::http
