// What a gate asks the broker of models, for tests.
#pragma once

#include "rpc/peer.h"
#include "wire/model_usage.h"

namespace hako::test {

/// What each call that these tests reserve says of itself.
constexpr int64_t kMostOutput = 64;
constexpr int64_t kInputBytes = 976;  // and 1024 around them

/// A gate's end of its connection to the broker. `peer` has to run.
struct BrokerClient {
  explicit BrokerClient(asio::any_io_executor executor, Fd fd) : peer(executor, std::move(fd)) {}
  rpc::Peer peer;

  Task<Result<std::string>> reserve(std::string box) {
    rpc::Payload payload;
    payload.body = {{"box", box},          {"host", "llm.example"},    {"api", "anthropic"},
                    {"model", "m"},        {"path", "/v1/messages"},   {"stream", true},
                    {"input_bytes", kInputBytes}, {"max_output_tokens", kMostOutput},
                    {"opaque_input", false}, {"answers", 1}};
    payload.body["extras"] = boost::json::array();
    auto answer = co_await peer.call("model.reserve", std::move(payload), std::chrono::seconds(30));
    if (!answer) co_return answer.error();
    co_return std::string(answer.value().body.at("reservation").as_string());
  }
  Task<Result<void>> settle(std::string reservation, std::string outcome,
                            wire::ModelUsage usage = {}) {
    rpc::Payload payload;
    payload.body = {{"reservation", reservation},
                    {"outcome", outcome},
                    {"requests", 1},
                    {"input_tokens", usage.input_tokens},
                    {"output_tokens", usage.output_tokens},
                    {"cached_tokens", usage.cached_tokens},
                    {"cache_write_tokens", usage.cache_write_tokens},
                    {"cache_write_1h_tokens", usage.cache_write_1h_tokens}};
    auto answer = co_await peer.call("model.settle", std::move(payload), std::chrono::seconds(30));
    if (!answer) co_return answer.error();
    co_return ok();
  }
};

}  // namespace hako::test
