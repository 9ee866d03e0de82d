#include "gate/model_call.h"

#include <utility>

#include "base/encoding.h"
#include "gate/walls.h"

namespace hako::gate {
namespace {

namespace json = boost::json;

constexpr size_t kLongestPathTold = 256;

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
  auto request = wire::parse_model_request(route, body);
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
  return response;
}

}  // namespace hako::gate
