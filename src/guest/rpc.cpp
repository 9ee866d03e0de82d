#include "guest/rpc.h"

#include <boost/json/parse.hpp>

#include "guest/headers.h"
#include "wire/connect.h"
#include "wire/json_text.h"

namespace hako::guest {
namespace {

constexpr std::chrono::seconds kDefaultKeepalive{90};
constexpr std::chrono::seconds kLongestKeepalive{3600};

/// Whether the request's media type is `type`, parameters aside.
bool has_type(const http::RequestHead& head, std::string_view type) {
  return wire::is_media_type(head.header("Content-Type"), type);
}

}  // namespace

Call::Call(http::Exchange& exchange, const wire::Method& method)
    : exchange_(exchange), method_(method) {
  if (has_type(head(), wire::kConnectUnaryProtoType) ||
      has_type(head(), wire::kConnectStreamProtoType))
    codec_ = Codec::proto;
}

std::chrono::seconds Call::keepalive() const {
  auto seconds = number_header(head(), "Keepalive-Ping-Interval");
  if (!seconds || *seconds == 0) return kDefaultKeepalive;
  return std::chrono::seconds(std::min<uint64_t>(*seconds, kLongestKeepalive.count()));
}

Task<bool> Call::require_type(std::string_view json_type, std::string_view proto_type) {
  if (has_type(head(), json_type) || has_type(head(), proto_type)) co_return true;
  Error error(ErrorCode::invalid_argument,
              "content type must be " + std::string(json_type) + " or " + std::string(proto_type));
  co_await send_json(exchange_, 415, wire::connect_error_body(error));
  co_return false;
}

Result<boost::json::object> Call::parse(std::string_view payload) const {
  if (codec_ == Codec::json) return wire::parse_object(payload);
  return wire::proto_to_json(*method_.request, payload);
}

Task<std::optional<boost::json::object>> Call::read_unary() {
  bool typed = co_await require_type(wire::kConnectUnaryType, wire::kConnectUnaryProtoType);
  if (!typed) co_return std::nullopt;
  auto read = [](Call& call) -> Task<Result<boost::json::object>> {
    std::string_view encoding = call.head().header("Content-Encoding");
    if (!encoding.empty() && encoding != "identity")
      co_return Error(ErrorCode::unsupported, "compressed requests are not supported");
    HAKO_CO_TRY(auto body, co_await call.exchange_.read_body(kLargestMessage));
    co_return call.parse(body);
  };
  auto message = co_await read(*this);
  if (message) co_return std::move(message.value());
  Result<void> failure = std::move(message).error();
  co_await send_unary(std::move(failure));
  co_return std::nullopt;
}

Task<bool> Call::send_unary(Result<std::string> message) {
  Result<void> outcome = ok();
  std::string body;
  if (!message) {
    outcome = std::move(message).error();
  } else if (codec_ == Codec::json) {
    body = std::move(message.value());
  } else {
    auto object = wire::parse_object(message.value());
    outcome = object ? wire::append_proto(body, *method_.response, object.value())
                     : Result<void>(std::move(object).error());
  }
  if (!outcome)
    return send_json(exchange_, wire::connect_status(outcome.error().code()),
                     wire::connect_error_body(outcome.error()));
  http::Response response = http::Response::empty(200);
  response.fields.set(http::Field::content_type, codec_ == Codec::json
                                                     ? wire::kConnectUnaryType
                                                     : wire::kConnectUnaryProtoType);
  response.body = std::move(body);
  return guest::send(exchange_, std::move(response));
}

Task<bool> Call::send_unary(Result<void> outcome) {
  Result<std::string> message = std::string("{}");
  if (!outcome) message = std::move(outcome).error();
  return send_unary(std::move(message));
}

Task<bool> Call::require_stream_type() {
  return require_type(wire::kConnectStreamType, wire::kConnectStreamProtoType);
}

Task<Result<boost::json::object>> Call::read_stream_request() {
  HAKO_CO_TRY(auto body, co_await exchange_.read_body(kLargestMessage + wire::kFrameHeaderBytes));
  wire::FrameDecoder decoder(kLargestMessage);
  decoder.feed(body);
  HAKO_CO_TRY(auto frame, decoder.next());
  if (!frame || !decoder.at_boundary())
    co_return Error(ErrorCode::invalid_argument, "the request must be one whole frame");
  co_return parse(frame->payload);
}

Result<void> Call::translate(std::string& frames) const {
  if (codec_ == Codec::json) return ok();
  wire::FrameDecoder decoder(frames.size());
  decoder.feed(frames);
  frames.clear();
  for (;;) {
    HAKO_TRY(auto frame, decoder.next());
    if (!frame) return ok();
    size_t start = wire::begin_frame(frames, frame->flags);
    if (frame->is_end()) {
      frames.append(frame->payload);
    } else {
      HAKO_TRY(auto object, wire::parse_object(frame->payload));
      HAKO_TRYV(wire::append_proto(frames, *method_.response, object));
    }
    wire::end_frame(frames, start);
  }
}

Task<Result<void>> Call::send(std::string& frames, bool last) {
  HAKO_CO_TRYV(translate(frames));
  bool first = !std::exchange(begun_, true);
  if (!first) {
    if (last) co_return co_await exchange_.end_with(asio::buffer(frames));
    co_return co_await exchange_.write(asio::buffer(frames));
  }
  http::Fields fields;
  fields.set(http::Field::content_type,
             codec_ == Codec::json ? wire::kConnectStreamType : wire::kConnectStreamProtoType);
  allow_origin(head(), fields);
  if (last) {
    http::Response whole = http::Response::empty(200);
    whole.fields = std::move(fields);
    whole.body = std::move(frames);
    co_return co_await exchange_.respond(std::move(whole));
  }
  http::ResponseHead response;
  response.fields = std::move(fields);
  co_return co_await exchange_.begin_with(std::move(response), asio::buffer(frames));
}

Task<void> Call::fail_stream(Error error) {
  std::string frame;
  wire::append_end_frame(frame, error);
  auto sent = co_await send(frame, true);
  if (!sent) co_return;
}

}  // namespace hako::guest
