// What answers of model providers say that they cost: tokens, counted while the answer passes.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include "wire/model_call.h"

namespace hako::wire {

/// Tokens of one answer. Nothing is counted twice: the three parts of the input add up to all of it.
struct ModelUsage {
  int64_t input_tokens = 0;        ///< read anew, neither out of a cache nor into one
  int64_t cached_tokens = 0;       ///< input that was read from a cache
  int64_t cache_write_tokens = 0;  ///< input that was written to a cache
  int64_t cache_write_1h_tokens = 0;  ///< of cache_write_tokens, those that are kept for an hour
  int64_t output_tokens = 0;          ///< with what the model thought and did not say

  bool operator==(const ModelUsage&) const = default;
};

/// Reads along an answer of status 2xx, JSON or server-sent events, as it comes. Memory does not grow
/// with the answer. Counts of one answer are cumulative in every protocol: the greatest said counts.
/// Those of an event count once all of it has arrived.
/// What the providers mean by their numbers, and what becomes of it (docs/models.md has it, too):
///
/// * Anthropic: `input_tokens` are without the cache's, `output_tokens` with thinking.
/// * OpenAI: `prompt_tokens`/`input_tokens` are with the cached ones, `completion_tokens`/`output_tokens`
///   with reasoning. Servers whose `total_tokens` say more than both count the rest as output.
/// * Gemini: `promptTokenCount` is with `cachedContentTokenCount`; `toolUsePromptTokenCount` comes on
///   top of it, and `thoughtsTokenCount` on top of `candidatesTokenCount`.
class UsageCounter {
 public:
  /// How much of the cost the answer has said.
  enum class Told {
    nothing,
    part,  ///< it was cut off, or the end does not say it: the numbers are the least that it has cost
    all
  };

  struct Outcome {
    Told told = Told::nothing;
    ModelUsage usage;
  };

  /// `content_type`: as the answer has it.
  UsageCounter(ModelDialect dialect, std::string_view content_type);
  UsageCounter(UsageCounter&&) noexcept;
  UsageCounter& operator=(UsageCounter&&) noexcept;
  ~UsageCounter();

  /// A piece of the body, without the chunks of HTTP and without compression.
  void feed(std::string_view piece);
  /// `in_order`: the body has come to its end as HTTP says; else it was cut off. Once, at the end.
  Outcome finish(bool in_order);

 private:
  struct Reading;
  std::unique_ptr<Reading> reading_;
};

}  // namespace hako::wire
