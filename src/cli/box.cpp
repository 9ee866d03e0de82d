#include "cli/box.h"

#include "base/encoding.h"
#include "cli/text.h"
#include "wire/connect.h"
#include "wire/json_text.h"

namespace hako::cli {
namespace json = boost::json;

bool is_box_id(std::string_view id) {
  if (id.empty() || id.size() > 64) return false;
  for (char c : id)
    if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9')) return false;
  return true;
}

std::optional<Endpoint> named_gate(const json::value& info, const Endpoint& api) {
  std::string secure = text_member(info, "gateHttpsUrl");
  bool by_name = !api.is_loopback() && !secure.empty();
  auto gate = parse_endpoint(by_name ? secure : text_member(info, "gateUrl"));
  if (!gate) return std::nullopt;
  gate.value().tls = api.tls;
  if (gate.value().is_loopback() && !api.is_loopback()) return std::nullopt;
  // What came encrypted goes on encrypted.
  if (api.secure && !gate.value().secure && !gate.value().is_loopback()) return std::nullopt;
  return std::move(gate).value();
}

Task<Endpoint> find_data_endpoint(ApiAccess access) {
  Endpoint fallback = access.endpoint;
  Api api(std::move(access));
  auto info = co_await api.call(http::Verb::get, "/v1/info", std::nullopt, std::chrono::seconds(5));
  if (!info) co_return fallback;
  auto gate = named_gate(info.value(), fallback);
  if (!gate) co_return fallback;
  Connection probe(*gate);
  auto reached = co_await probe.client();
  co_return reached ? std::move(*gate) : fallback;
}

Result<BoxAccess> box_from_answer(const json::value& answer, Endpoint data) {
  BoxAccess box;
  box.id = text_member(answer, "sandboxID");
  box.token = text_member(answer, "envdAccessToken");
  box.data = std::move(data);
  // Both go into headers as they are.
  bool clean =
      std::all_of(box.token.begin(), box.token.end(), [](char c) { return c > ' ' && c <= '~'; });
  if (!is_box_id(box.id) || !clean)
    return Error(ErrorCode::corrupted, "the API's answer describes no box");
  return box;
}

Error missing_box(const std::string& id, const Error& answer) {
  std::string known = "sandbox " + id + " not found: ";
  if (answer.message().starts_with(known))
    return Error(ErrorCode::not_found,
                 "the box '" + id + "' is no more: " + answer.message().substr(known.size()));
  return Error(ErrorCode::not_found,
               "there is no box '" + id + "': it may have ended; `hako ps` lists what runs");
}

Task<Result<BoxAccess>> find_box(Api& api, std::string id) {
  using namespace asio::experimental::awaitable_operators;
  if (!is_box_id(id))
    co_return Error(ErrorCode::invalid_argument,
                    "'" + printable_field(id) + "' is no id of a box: `hako ps` lists them");
  auto asked = api.call(http::Verb::get, "/sandboxes/" + id);
  auto data = find_data_endpoint(api.access());
  auto [answer, endpoint] = co_await (std::move(asked) && std::move(data));
  if (!answer && answer.error().code() == ErrorCode::not_found)
    co_return missing_box(id, answer.error());
  if (!answer) co_return answer.error();
  co_return box_from_answer(answer.value(), std::move(endpoint));
}

http::Request box_request(const BoxAccess& box, const std::string& user, http::Verb method,
                          std::string target, std::string_view content_type) {
  http::Request request;
  request.method = method;
  request.target = std::move(target);
  request.fields.set("E2b-Sandbox-Id", box.id);
  request.fields.set("E2b-Sandbox-Port", "49983");
  if (!box.token.empty()) request.fields.set("X-Access-Token", box.token);
  if (!user.empty())
    request.fields.set(http::Field::authorization, "Basic " + base64_encode(user + ":"));
  if (!content_type.empty())
    request.fields.set(http::Field::content_type,
                       boost::beast::string_view(content_type.data(), content_type.size()));
  return request;
}

Error box_error(const BoxAccess& box, unsigned status, std::string_view body) {
  if (status == 502)
    return Error(ErrorCode::not_found,
                 "the box " + box.id + " does not answer: it has ended, or its time ran out");
  Error error = wire::parse_connect_error(status, body);
  return Error(error.code(), printable_field(error.message()));
}

Task<Result<json::object>> BoxClient::call(std::string method, std::string body, Duration limit) {
  auto request = box_request(box_, user_, http::Verb::post, "/" + method, wire::kConnectUnaryType);
  request.fields.set("Connect-Protocol-Version", "1");
  request.body = std::move(body);
  auto response = co_await connection_.exchange(std::move(request), limit);
  if (!response) co_return unreachable(box_.data, response.error());
  if (response.value().status != 200)
    co_return box_error(box_, response.value().status, response.value().body);
  co_return wire::parse_object(response.value().body);
}

Task<Result<std::optional<wire::EntryInfo>>> BoxClient::stat(std::string path) {
  json::object request{{"path", path}};
  auto answer = co_await call("filesystem.Filesystem/Stat", json::serialize(request));
  if (!answer && answer.error().code() == ErrorCode::not_found &&
      !answer.error().message().starts_with("the box "))
    co_return std::optional<wire::EntryInfo>{};
  if (!answer) co_return answer.error();
  const auto* entry = wire::find_member(answer.value(), "entry");
  if (!entry || !entry->is_object())
    co_return Error(ErrorCode::corrupted, "the box answered without an entry");
  HAKO_CO_TRY(auto parsed, wire::parse_entry(entry->get_object()));
  co_return std::optional<wire::EntryInfo>(std::move(parsed));
}

Task<Result<std::string>> BoxClient::make_directory(std::string path) {
  json::object request{{"path", path}};
  auto answer = co_await call("filesystem.Filesystem/MakeDir", json::serialize(request));
  if (!answer && answer.error().code() != ErrorCode::already_exists) co_return answer.error();
  HAKO_CO_TRY(auto entry, co_await stat(path));
  if (!entry) co_return Error(ErrorCode::not_found, "the new directory " + path + " is not there");
  if (entry->type != wire::FileType::directory)
    co_return Error(ErrorCode::invalid_argument, printable_field(path) + " is no directory");
  co_return std::move(entry->path);
}

}  // namespace hako::cli
