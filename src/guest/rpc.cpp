#include "guest/rpc.h"

#include "wire/connect.h"
#include "wire/json_text.h"

namespace hako::guest {
namespace {

/// Whether the request's media type is `type`, parameters aside.
bool has_type(const http::Exchange& exchange, std::string_view type) {
  std::string_view header = exchange.head().header("Content-Type");
  header = header.substr(0, header.find(';'));
  while (!header.empty() && header.back() == ' ') header.remove_suffix(1);
  return boost::beast::iequals(header, type);
}

Task<bool> refuse_type(http::Exchange& exchange, std::string_view wanted) {
  Error error(ErrorCode::invalid_argument, "content type must be " + std::string(wanted));
  return send_json(exchange, 415, wire::connect_error_body(error));
}

}  // namespace

Task<std::optional<boost::json::object>> read_unary(http::Exchange& exchange) {
  if (!has_type(exchange, wire::kConnectUnaryType)) {
    co_await refuse_type(exchange, wire::kConnectUnaryType);
    co_return std::nullopt;
  }
  auto body = co_await exchange.read_body(kLargestMessage);
  auto message = body ? wire::parse_object(body.value())
                      : Result<boost::json::object>(std::move(body).error());
  if (message) co_return std::move(message.value());
  Result<void> failure = std::move(message).error();
  co_await send_unary(exchange, std::move(failure));
  co_return std::nullopt;
}

Task<bool> send_unary(http::Exchange& exchange, Result<std::string> message) {
  if (message) return send_json(exchange, 200, std::move(message.value()));
  return send_json(exchange, wire::connect_status(message.error().code()),
                   wire::connect_error_body(message.error()));
}

Task<bool> send_unary(http::Exchange& exchange, Result<void> outcome) {
  if (outcome) return send_json(exchange, 200, "{}");
  return send_json(exchange, wire::connect_status(outcome.error().code()),
                   wire::connect_error_body(outcome.error()));
}

Task<bool> require_stream_type(http::Exchange& exchange) {
  if (has_type(exchange, wire::kConnectStreamType)) co_return true;
  co_await refuse_type(exchange, wire::kConnectStreamType);
  co_return false;
}

Task<Result<boost::json::object>> read_stream_request(http::Exchange& exchange) {
  HAKO_CO_TRY(auto body, co_await exchange.read_body(kLargestMessage + wire::kFrameHeaderBytes));
  wire::FrameDecoder decoder(kLargestMessage);
  decoder.feed(body);
  HAKO_CO_TRY(auto frame, decoder.next());
  if (!frame || !decoder.at_boundary())
    co_return Error(ErrorCode::invalid_argument, "the request must be one whole frame");
  co_return wire::parse_object(frame->payload);
}

Task<Result<void>> begin_stream(http::Exchange& exchange) {
  http::ResponseHead head;
  head.fields.set(http::Field::content_type, wire::kConnectStreamType);
  allow_origin(exchange.head(), head.fields);
  return exchange.begin(std::move(head));
}

Task<void> fail_stream(http::Exchange& exchange, Error error) {
  auto begun = co_await begin_stream(exchange);
  if (!begun) co_return;
  std::string frame;
  wire::append_end_frame(frame, error);
  auto written = co_await exchange.write(asio::buffer(frame));
  if (!written) co_return;
  auto ended = co_await exchange.end();
  if (!ended) co_return;
}

}  // namespace hako::guest
