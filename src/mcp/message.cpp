#include "mcp/message.h"

#include <boost/json/parse.hpp>

#include <algorithm>

namespace hako::mcp {
namespace json = boost::json;

namespace {

constexpr size_t kLongestMethod = 128;

Parsed not_a_message(int code, std::string text, json::value id = nullptr) {
  Parsed parsed;
  parsed.malformed = Malformed{code, std::move(text), std::move(id)};
  return parsed;
}

json::string_view view_of(std::string_view text) {
  return {text.data(), text.size()};
}

}  // namespace

bool is_id(const json::value& value) {
  if (value.is_int64() || value.is_uint64()) return true;
  return value.is_string() && value.get_string().size() <= kLongestId;
}

Parsed parse_message(std::string_view text) {
  json::error_code failed;
  json::value value = json::parse(view_of(text), failed);
  if (failed) return not_a_message(kParseError, "the message is not JSON");
  if (value.is_array())
    return not_a_message(kInvalidRequest, "batches are not part of this protocol");
  if (!value.is_object()) return not_a_message(kInvalidRequest, "the message is no JSON object");
  json::object& object = value.get_object();

  json::value id;
  const json::value* given = object.if_contains("id");
  if (given && is_id(*given)) id = *given;
  const json::value* version = object.if_contains("jsonrpc");
  if (!version || !version->is_string() || version->get_string() != "2.0")
    return not_a_message(kInvalidRequest, "'jsonrpc' must be \"2.0\"", id);
  const json::value* method = object.if_contains("method");
  bool answers = object.contains("result") || object.contains("error");
  if (given && id.is_null() && !(answers && !method))
    return not_a_message(kInvalidRequest, "'id' must be a string or an integer");

  Message message;
  message.id = id;
  if (!method) {
    if (!answers || !given)
      return not_a_message(kInvalidRequest, "the message has no method", id);
    message.kind = Message::Kind::response;
    return Parsed{std::move(message), {}};
  }
  if (!method->is_string() || method->get_string().empty() ||
      method->get_string().size() > kLongestMethod)
    return not_a_message(kInvalidRequest, "'method' must be a short text", id);
  message.method.assign(method->get_string().data(), method->get_string().size());
  message.kind = given ? Message::Kind::request : Message::Kind::notification;
  if (json::value* params = object.if_contains("params")) {
    if (!params->is_object())
      return not_a_message(kInvalidParams, "'params' must be an object", id);
    message.params = std::move(params->get_object());
  }
  return Parsed{std::move(message), {}};
}

json::object result_message(const json::value& id, json::object result) {
  json::object message;
  message["jsonrpc"] = "2.0";
  message["id"] = id;
  message["result"] = std::move(result);
  return message;
}

json::object error_message(const json::value& id, int code, std::string_view text) {
  json::object error;
  error["code"] = code;
  error["message"] = view_of(text);
  json::object message;
  message["jsonrpc"] = "2.0";
  message["id"] = id;
  message["error"] = std::move(error);
  return message;
}

json::object notification_message(std::string_view method, json::object params) {
  json::object message;
  message["jsonrpc"] = "2.0";
  message["method"] = view_of(method);
  message["params"] = std::move(params);
  return message;
}

bool is_spoken(std::string_view version) {
  return std::ranges::find(kVersions, version) != std::end(kVersions);
}

std::string_view negotiate(std::string_view version) {
  auto found = std::ranges::find(kVersions, version);
  return found == std::end(kVersions) ? kVersions[0] : *found;
}

std::string quotable(std::string_view text) {
  constexpr size_t kMost = 64;
  std::string copy(text.substr(0, kMost));
  for (char& c : copy)
    if (c < ' ' || c > '~') c = '?';
  return copy;
}

}  // namespace hako::mcp
