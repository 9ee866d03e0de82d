#include "gate/model_call.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

#include "base/encoding.h"
#include "gate/walls.h"

namespace hako::gate {
namespace {

namespace json = boost::json;

constexpr size_t kLongestPathTold = 256;
/// Of a call's body; some milliseconds at most.
constexpr size_t kScannedAtOnce = 128 << 10;

ModelCall::Refusal refusal_of(const Error& error) {
  switch (error.code()) {
    case ErrorCode::resource_exhausted:
      return {429, error.message()};
    case ErrorCode::permission_denied:
      return {403, error.message()};
    default:
      return {503, "the call cannot be counted: " + error.message()};
  }
}

std::string_view anthropic_type(unsigned status) {
  if (status == 429) return "rate_limit_error";
  if (status == 403) return "permission_error";
  if (status == 413) return "request_too_large";
  return status == 503 ? "overloaded_error" : "invalid_request_error";
}

std::string_view gemini_status(unsigned status) {
  if (status == 429) return "RESOURCE_EXHAUSTED";
  if (status == 403) return "PERMISSION_DENIED";
  return status == 503 ? "UNAVAILABLE" : "INVALID_ARGUMENT";
}

}  // namespace

ModelCall::~ModelCall() {
  end(false);
}

Task<std::optional<ModelCall::Refusal>> ModelCall::begin(const wire::ModelRoute& route,
                                                         std::string path, std::string& body) {
  dialect_ = route.dialect;
  wire::ModelRequestScan scan(route);
  auto executor = co_await asio::this_coro::executor;
  for (std::string_view left = body; !left.empty();) {
    scan.feed(left.substr(0, kScannedAtOnce));
    left.remove_prefix(std::min(kScannedAtOnce, left.size()));
    // Others get their turn.
    if (!left.empty()) co_await asio::post(executor, asio::use_awaitable);
  }
  auto request = scan.finish();
  if (!request) {
    Refusal refusal{400, "the call cannot be counted: " + request.error().message()};
    co_return refusal;
  }
  model_ = request.value().model;
  json::object call;
  call["box"] = caller_.box;
  call["host"] = caller_.host;
  call["port"] = caller_.port;
  call["api"] = wire::to_string(caller_.api);
  call["model"] = model_;
  call["path"] = valid_utf8(path.substr(0, kLongestPathTold));
  call["stream"] = request.value().stream;
  call["input_bytes"] = body.size();
  if (request.value().max_output_tokens)
    call["max_output_tokens"] = *request.value().max_output_tokens;
  call["answers"] = request.value().answers;
  call["opaque_input"] = request.value().opaque_input;
  call["extras"] = json::array(request.value().extras.begin(), request.value().extras.end());
  auto asking = caller_.broker.reserve(std::move(call));
  auto reservation = co_await std::move(asking);
  if (reservation) {
    reservation_ = std::move(reservation).value();
  } else if (stands(Wall::counted)) {
    co_return refusal_of(reservation.error());
  }
  if (request.value().hides_usage) body = wire::with_usage_asked(body);
  co_return std::nullopt;
}

void ModelCall::answered(const http::ResponseHead& head) {
  status_ = head.status;
  if (status_ / 100 != 2) return;
  auto type = head.fields.find(http::Field::content_type);
  std::string_view said;
  if (type != head.fields.end()) said = {type->value().data(), type->value().size()};
  counter_.emplace(dialect_, said);
}

void ModelCall::feed(std::string_view piece) {
  if (counter_) counter_->feed(piece);
}

void ModelCall::end(bool in_order) {
  if (reservation_.empty()) return;
  wire::UsageCounter::Outcome counted;
  // What the server may have got and has not refused may have cost what was reserved.
  std::string_view outcome = sent_ ? "uncounted" : "failed";
  if (status_ >= 400) outcome = "failed";
  if (counter_) {
    counted = counter_->finish(in_order);
    using Told = wire::UsageCounter::Told;
    if (counted.told != Told::nothing) outcome = counted.told == Told::all ? "ok" : "cut";
  }
  json::object settlement;
  settlement["reservation"] = std::exchange(reservation_, {});
  settlement["outcome"] = outcome;
  settlement["requests"] = sent_ ? 1 : 0;
  settlement["input_tokens"] = counted.usage.input_tokens;
  settlement["output_tokens"] = counted.usage.output_tokens;
  settlement["cached_tokens"] = counted.usage.cached_tokens;
  settlement["cache_write_tokens"] = counted.usage.cache_write_tokens;
  settlement["cache_write_1h_tokens"] = counted.usage.cache_write_1h_tokens;
  caller_.broker.settle(std::move(settlement));
}

Task<Result<std::string>> read_call(http::Exchange& exchange, BodyRoom::Taken& taken) {
  Error too_large(ErrorCode::too_large,
                  "a call may have " + std::to_string(ModelCall::kLongestBody) + " bytes at most");
  // Said at once, rather than after all of it has come.
  std::string_view said = exchange.head().header("Content-Length");
  size_t announced = 0;
  (void)std::from_chars(said.data(), said.data() + said.size(), announced);
  if (announced > ModelCall::kLongestBody) co_return too_large;
  std::string body;
  auto buffer = std::make_unique_for_overwrite<std::array<char, 16 << 10>>();
  for (;;) {
    HAKO_CO_TRY(size_t count, co_await exchange.read_some(asio::buffer(*buffer)));
    if (count == 0) co_return body;
    if (count > ModelCall::kLongestBody - body.size()) co_return too_large;
    if (!taken.grow(count)) {
      co_return Error(ErrorCode::resource_exhausted,
                      "too much of calls is under way at the moment; try again");
    }
    body.append(buffer->data(), count);
  }
}

std::string odd_head(const http::RequestHead& head) {
  for (const char* name : {"X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"}) {
    if (head.fields.count(name) > 0) return std::string(name) + " is not relayed to a model";
  }
  if (head.fields.count(http::Field::content_type) > 1) return "a call with several media types";
  // Read in another character set, a text may end where it does not end for us.
  std::string type(head.header("Content-Type"));
  for (char& c : type) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  for (size_t at = type.find("charset"); at != type.npos; at = type.find("charset", at)) {
    at += std::string_view("charset").size();
    std::string charset = type.substr(at, type.find(';', at) - at);
    std::erase_if(charset, [](char c) { return std::string_view("= \t\"'").find(c) < 5; });
    if (charset != "utf-8" && charset != "utf8" && charset != "us-ascii")
      return "a call in another character set than UTF-8";
  }
  return {};
}

http::Response model_refusal(wire::ModelApi api, const ModelCall::Refusal& refusal) {
  std::string message = valid_utf8("hako: " + refusal.reason);
  json::object error, body;
  error["message"] = message;
  switch (api) {
    case wire::ModelApi::anthropic:
      error["type"] = anthropic_type(refusal.status);
      body["type"] = "error";
      break;
    case wire::ModelApi::openai:
      error["type"] = refusal.status == 429 ? "insufficient_quota" : "invalid_request_error";
      error["code"] = refusal.status == 429 ? "insufficient_quota" : "refused";
      error["param"] = nullptr;
      break;
    case wire::ModelApi::gemini:
      error["code"] = refusal.status;
      error["status"] = gemini_status(refusal.status);
      break;
  }
  body["error"] = std::move(error);
  auto response = http::Response::json(refusal.status, body);
  // A cap that is reached stays so for longer than a client tries.
  response.fields.set("X-Should-Retry", refusal.status == 503 ? "true" : "false");
  if (refusal.status == 503) response.fields.set(http::Field::retry_after, "1");
  return response;
}

}  // namespace hako::gate
