// Calls of model providers' APIs: which request is one, and what it asks for.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace hako::wire {

/// Whose API a host speaks. `openai` is also that of the many servers that are compatible with it.
enum class ModelApi { anthropic, openai, gemini };
std::string_view to_string(ModelApi api);
std::optional<ModelApi> parse_model_api(std::string_view name);

/// In which form a call and its answer are written.
enum class ModelDialect {
  messages,   ///< Anthropic Messages
  chat,       ///< OpenAI Chat Completions
  responses,  ///< OpenAI Responses
  generate    ///< Gemini generateContent and streamGenerateContent
};

/// What a request to a model's host is.
struct ModelRoute {
  bool free = false;  ///< it calls no model and costs nothing, and passes unread
  ModelDialect dialect = ModelDialect::messages;
  std::string model;    ///< where the path names it (Gemini, deployments of Azure); else empty
  bool stream = false;  ///< where the path says it (Gemini)
};

/// Knows the calls that can be counted, and lists of models and counts of tokens, which are free.
/// `target`: of the request line, with its query.
/// permission_denied for all else: what is not known might cost, and nobody could say how much.
Result<ModelRoute> route_model_request(ModelApi api, std::string_view method,
                                       std::string_view target);

/// What a call asks for.
struct ModelRequest {
  std::string model;
  bool stream = false;
  /// The most tokens that all its answers together may have; nothing if it does not say.
  std::optional<int64_t> max_output_tokens;
  int64_t answers = 1;  ///< how many it asks for, each as long as the model may make it
  /// The input may have more tokens than the body has bytes: it has images or files in it, or names
  /// things that the provider keeps.
  bool opaque_input = false;
  /// What lets the provider reach elsewhere (tools that it runs, addresses that it fetches), or costs
  /// otherwise than tokens of the model do: "web_search_20250305", "url", "service_tier=priority". Each
  /// needs the operator's leave. Printable, at most kMostExtras of at most 80 bytes, without repetition.
  std::vector<std::string> extras;
  /// A stream that will not say what it cost, unless with_usage_asked().
  bool hides_usage = false;
};

inline constexpr size_t kMostExtras = 16;

/// Reads a call's body piece by piece, in memory that does not grow with it: a long one takes a while.
class ModelRequestScan {
 public:
  explicit ModelRequestScan(ModelRoute route);
  ModelRequestScan(ModelRequestScan&&) noexcept;
  ~ModelRequestScan();

  void feed(std::string_view piece);
  /// What all of it asks for. Errors: those of parse_model_request(). Once.
  Result<ModelRequest> finish();

 private:
  struct Reading;
  std::unique_ptr<Reading> reading_;
};

/// The same at once.
/// invalid_argument: no JSON, or what it asks for cannot be told for sure: no model, a member twice or
/// in a spelling that only some servers take, a number that is none, calls that end before they are
/// answered (`background`).
Result<ModelRequest> parse_model_request(const ModelRoute& route, std::string_view body);

/// The body of a call that `hides_usage` (as parse_model_request() has read it), with
/// `stream_options.include_usage` in it. It is longer by a few bytes.
std::string with_usage_asked(std::string_view body);

}  // namespace hako::wire
