#include "mcp/upstream.h"

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

#include "base/encoding.h"
#include "wire/connect.h"
#include "wire/json_text.h"

namespace hako::mcp {
namespace json = boost::json;

namespace {

constexpr size_t kLongestError = 2000;

/// An answer, or why there was none, within a time.
Task<Result<http::Response>> exchange_on(http::Client& client, http::Request request,
                                         Duration limit, size_t most) {
  auto sent = client.exchange(std::move(request), most);
  co_return co_await with_deadline(limit, std::move(sent));
}

}  // namespace

bool is_box_id(std::string_view id) {
  if (id.empty() || id.size() > 64) return false;
  for (char c : id)
    if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9')) return false;
  return true;
}

Error error_of(unsigned status, std::string_view body) {
  if (status == 502)
    return Error(ErrorCode::not_found,
                 "the box does not answer: it has ended, or its time ran out");
  Error told = wire::parse_connect_error(status, body);
  std::string text = valid_utf8(told.message().substr(0, kLongestError));
  for (char& c : text)
    if (static_cast<unsigned char>(c) < ' ' && c != '\n') c = ' ';
  return Error(told.code(), std::move(text));
}

http::Request Api::prepare(http::Verb method, std::string target) const {
  http::Request request;
  request.method = method;
  request.target = upstream_.prefix + target;
  for (const auto& field : upstream_.fields) request.fields.set(field.name_string(), field.value());
  request.fields.set(http::Field::user_agent, "hako-mcp");
  return request;
}

http::Request Api::prepare_for(const std::string& box, const std::string& user, http::Verb method,
                               std::string target) const {
  http::Request request = prepare(method, std::move(target));
  request.fields.set("E2b-Sandbox-Id", box);
  request.fields.set("E2b-Sandbox-Port", "49983");
  if (!user.empty())
    request.fields.set(http::Field::authorization, "Basic " + base64_encode(user + ":"));
  return request;
}

Task<Result<http::Response>> Api::exchange(http::Request request, Duration limit, size_t most) {
  if (!kept_ || !kept_->reusable() || kept_->stale()) {
    kept_.reset();
    auto connecting = upstream_.connect();
    HAKO_CO_TRY(auto client, co_await with_deadline(kCallTime, std::move(connecting)));
    kept_.emplace(std::move(client));
  }
  auto answer = co_await exchange_on(*kept_, std::move(request), limit, most);
  if (!answer) {
    kept_.reset();
    if (answer.error().code() == ErrorCode::timed_out)
      co_return Error(ErrorCode::timed_out, "hako did not answer in time");
    if (answer.error().code() == ErrorCode::too_large)
      co_return Error(ErrorCode::too_large, "the answer is over " + std::to_string(most) +
                                                " bytes: ask for less at a time");
    co_return answer.error().with_context("hako did not answer");
  }
  co_return answer;
}

Task<Result<json::value>> Api::call(http::Verb method, std::string target,
                                    std::optional<json::value> body, Duration limit) {
  http::Request request = prepare(method, std::move(target));
  if (body) {
    request.body = json::serialize(*body);
    request.fields.set(http::Field::content_type, "application/json");
  }
  HAKO_CO_TRY(auto response, co_await exchange(std::move(request), limit));
  if (response.status >= 300) co_return error_of(response.status, response.body);
  json::value answer;
  if (response.body.empty()) co_return answer;
  json::error_code failed;
  answer = json::parse(response.body, failed);
  if (failed) co_return Error(ErrorCode::corrupted, "the API's answer is not JSON");
  co_return answer;
}

Task<Result<json::object>> Api::daemon(std::string box, std::string user, std::string method,
                                       json::object body, Duration limit) {
  http::Request request = prepare_for(box, user, http::Verb::post, "/" + method);
  request.fields.set("Connect-Protocol-Version", "1");
  request.fields.set(http::Field::content_type, "application/json");
  request.body = json::serialize(body);
  HAKO_CO_TRY(auto response, co_await exchange(std::move(request), limit));
  if (response.status != 200) co_return error_of(response.status, response.body);
  co_return wire::parse_object(response.body);
}

}  // namespace hako::mcp
