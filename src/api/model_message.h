// What the gate says of calls of models. Pure.
#pragma once

#include <boost/json.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "store/models.h"

namespace hako::api {

/// A call that somebody wants to make.
struct ModelCallRequest {
  std::string box;
  std::string host;
  uint16_t port = 443;
  std::string api;
  std::string model;
  std::string path;
  bool stream = false;
  int64_t input_bytes = 0;  ///< of the body
  bool opaque_input = false;
  std::optional<int64_t> max_output_tokens;  ///< of all its answers together
  int64_t answers = 1;  ///< each as long as the model makes it, where max_output_tokens is not said
  std::vector<std::string> extras;
};

/// {box, host, port?, api, model, path, stream, input_bytes, opaque_input, max_output_tokens?, answers,
/// extras}.
/// invalid_argument: something is missing that decides what the call may cost, or is out of bounds.
Result<ModelCallRequest> parse_model_call(const boost::json::object& body);

enum class ModelOutcome {
  ok,         ///< the answer was whole, and said what it cost
  cut,        ///< it said a part of it
  failed,     ///< it was refused: an error that costs nothing, or nothing went out
  uncounted,  ///< it did not say
  lost        ///< nobody told us; never said by the gate
};
std::string_view to_string(ModelOutcome outcome);

/// How a call ended.
struct ModelCallEnd {
  std::string reservation;
  ModelOutcome outcome = ModelOutcome::lost;
  bool went_out = true;  ///< a byte of it
  store::ModelTokens tokens;
};

/// {reservation, outcome, requests, input_tokens, output_tokens, cached_tokens, cache_write_tokens,
/// cache_write_1h_tokens?}. invalid_argument.
Result<ModelCallEnd> parse_model_end(const boost::json::object& body);

/// The body of a stop, {tenant?, reason?}, or of a start, {tenant?}.
struct ModelSwitch {
  std::optional<std::string> tenant;
  std::string reason;
};
Result<ModelSwitch> parse_model_switch(std::string_view body, bool with_reason);

}  // namespace hako::api
