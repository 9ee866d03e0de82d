#include "gate/answers.h"

#include <algorithm>

#include "wire/connect.h"

namespace hako::gate {
namespace {

constexpr std::string_view kPortPlace = "${PORT}";
constexpr size_t kLongestHeaderList = 4096;
/// How keys and tokens of hako begin.
constexpr char kKeyMark[] = "e2b_";

/// Text as it may stand in a page.
std::string escaped(std::string_view text) {
  std::string page;
  for (char c : text) {
    if (c == '<' || c == '>' || c == '&' || c == '"' || c == '\'') {
      page += "&#" + std::to_string(static_cast<int>(c)) + ";";
    } else {
      page += c;
    }
  }
  return page;
}

/// A list of header names: nothing that could end a line or begin another header.
bool is_header_list(std::string_view text) {
  return text.size() <= kLongestHeaderList && std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '-' || c == '_' || c == ',' || c == ' ';
         });
}

}  // namespace

http::Response problem(const http::RequestHead& head, const wire::BoxPort& target, unsigned status,
                       std::string_view message, bool with_port) {
  http::Response response;
  if (head.header("Sec-Fetch-Mode") == "navigate") {
    std::string title = std::to_string(status) + " " + escaped(message);
    response.status = status;
    response.fields.set(http::Field::content_type, "text/html; charset=utf-8");
    response.body = "<!doctype html><title>" + title + "</title><h1>" + title + "</h1><p>Sandbox " +
                    escaped(target.box);
    if (with_port) response.body += ", port " + std::to_string(target.port);
    response.body += ".</p>\n";
  } else {
    boost::json::object body;
    body["sandboxId"] = target.box;
    body["message"] = boost::json::string_view(message.data(), message.size());
    if (with_port) body["port"] = target.port;
    body["code"] = status;
    response = http::Response::json(status, body);
  }
  if (target.port == wire::kDaemonPort) allow_origins(response.fields);
  if (http::passes_by_itself(status)) response.fields.set(http::Field::retry_after, "1");
  return response;
}

http::Response no_sandbox(const http::RequestHead& head, const wire::BoxPort& target) {
  return problem(head, target, 502, "The sandbox was not found");
}

http::Response no_port(const http::RequestHead& head, const wire::BoxPort& target) {
  return problem(head, target, 502, "The sandbox is running but port is not open", true);
}

bool is_preflight(const http::RequestHead& head) {
  return head.method == http::Verb::options && !head.header("Origin").empty() &&
         !head.header("Access-Control-Request-Method").empty();
}

http::Response preflight_answer(const http::RequestHead& head) {
  http::Response response = http::Response::empty(204);
  response.fields.set("Access-Control-Allow-Origin", "*");
  response.fields.set("Access-Control-Allow-Methods", "GET, HEAD, POST, PUT, PATCH, DELETE");
  // Named one by one: a star does not cover Authorization.
  std::string_view asked = head.header("Access-Control-Request-Headers");
  if (!asked.empty() && is_header_list(asked)) {
    response.fields.set("Access-Control-Allow-Headers",
                        boost::beast::string_view(asked.data(), asked.size()));
  }
  response.fields.set("Access-Control-Max-Age", "7200");
  response.fields.set("Vary", "Access-Control-Request-Headers");
  return response;
}

void allow_origins(http::Fields& fields) {
  if (fields.find("Access-Control-Allow-Origin") != fields.end()) return;
  fields.set("Access-Control-Allow-Origin", "*");
  fields.set("Access-Control-Expose-Headers",
             "Content-Encoding, Content-Disposition, Connect-Content-Encoding, "
             "Connect-Accept-Encoding, Grpc-Status, Grpc-Message, Grpc-Status-Details-Bin");
}

http::Response refusal(const http::RequestHead& head, const wire::BoxPort& target,
                       const Judgement& judgement) {
  if (target.port != wire::kDaemonPort)
    return problem(head, target, judgement.refused, judgement.reason);
  http::Response response = http::error_response(judgement.refused, judgement.reason);
  // Calls of a service have an error form of their own, and clients show the text of that only. What
  // the daemon says itself of a wrong token is left as it is.
  bool call = head.path().find('.') != std::string_view::npos;
  if (judgement.refused != 401 && call) {
    ErrorCode code = judgement.refused == 403 ? ErrorCode::permission_denied
                                              : ErrorCode::resource_exhausted;
    response.body = wire::connect_error_body(Error(code, judgement.reason));
  }
  allow_origins(response.fields);
  return response;
}

void take_out_keys(http::RequestHead& head) {
  head.fields.erase("X-Hako-Tenant");
  auto [first, last] = head.fields.equal_range("X-API-Key");
  bool is_ours = std::any_of(first, last, [](const auto& field) {
    return field.value().find(kKeyMark) != boost::beast::string_view::npos;
  });
  if (is_ours) head.fields.erase("X-API-Key");
}

void prepare_for_service(http::RequestHead& head, uint16_t port, const Ingress& ingress) {
  // Who is in the box has no use for it, and might show it to others.
  head.fields.erase(boost::beast::string_view(kTrafficHeader.data(), kTrafficHeader.size()));
  if (ingress.mask_host.empty()) return;
  std::string host = ingress.mask_host;
  std::string digits = std::to_string(port);
  for (size_t at = host.find(kPortPlace); at != host.npos; at = host.find(kPortPlace, at)) {
    host.replace(at, kPortPlace.size(), digits);
  }
  head.fields.set("X-Forwarded-Host", head.fields[http::Field::host]);
  head.fields.set(http::Field::host, host);
}

}  // namespace hako::gate
