// Models that boxes may call through the gate: where they are, and what they cost.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "policy/label.h"
#include "policy/model_price.h"

namespace hako::config {

/// A server of models. Calls to it are counted, and what cannot be counted is refused.
struct ModelEndpoint {
  std::string host;    ///< lower case
  uint16_t port = 443;
  std::string api;     ///< "anthropic", "openai" or "gemini"
  std::string secret;  ///< the name of the secret that opens it; empty: boxes bring their own
  /// With a secret: the most confidential data that may go there, also of labels that close all else.
  policy::Label label = policy::Label::secret;
  bool operator==(const ModelEndpoint&) const = default;
};

/// What [models] file says.
struct Models {
  std::vector<ModelEndpoint> endpoints;
  std::vector<policy::ModelPrice> prices;
  std::vector<std::string> allow = {"*"};  ///< names that may be called; '*' at the end for any rest
  /// What calls may ask for beside tokens: names as wire::ModelRequest::extras has them, '*' likewise.
  std::vector<std::string> extras;
  int64_t context_tokens = 1'000'000;    ///< of models of which the prices do not say it
  int64_t max_output_tokens = 128'000;   ///< likewise
  /// How long a call may go on before it is taken for lost, and for as dear as it may have been.
  int64_t reservation_minutes = 60;
  bool operator==(const Models&) const = default;

  /// Null if there is none.
  const ModelEndpoint* endpoint(std::string_view host, uint16_t port) const;
};

/// Reads the file; an empty path is no models. invalid_argument with file, line and what was expected;
/// not_found.
Result<Models> load_models(const std::string& path);

}  // namespace hako::config
