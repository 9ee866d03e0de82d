#include "wire/model_usage.h"

#include <algorithm>
#include <array>
#include <span>
#include <string>

#include "wire/ascii.h"
#include "wire/event_stream.h"
#include "wire/json_scan.h"

namespace hako::wire {
namespace {

/// More than any answer can have; a number above it is no count.
constexpr int64_t kMostTokens = 1'000'000'000'000;
constexpr std::string_view kChatEnd = "[DONE]";

/// The numbers as the providers say them.
enum class Number {
  input,         ///< Anthropic's, without the cache's
  prompt,        ///< with the cache's
  tool_prompt,   ///< on top of prompt
  cached,
  cache_write,
  cache_write_1h,
  output,
  thoughts,  ///< on top of output
  total
};
constexpr size_t kNumbers = static_cast<size_t>(Number::total) + 1;

struct Place {
  std::string_view path;  ///< below the object with the counts
  Number number;
};

constexpr Place kMessagesPlaces[] = {
    {"/input_tokens", Number::input},
    {"/cache_read_input_tokens", Number::cached},
    {"/cache_creation_input_tokens", Number::cache_write},
    {"/cache_creation/ephemeral_1h_input_tokens", Number::cache_write_1h},
    {"/output_tokens", Number::output},
};
constexpr Place kChatPlaces[] = {
    {"/prompt_tokens", Number::prompt},
    {"/prompt_tokens_details/cached_tokens", Number::cached},
    {"/prompt_tokens_details/cache_write_tokens", Number::cache_write},
    {"/prompt_cache_hit_tokens", Number::cached},
    {"/completion_tokens", Number::output},
    {"/total_tokens", Number::total},
};
constexpr Place kResponsesPlaces[] = {
    {"/input_tokens", Number::prompt},
    {"/input_tokens_details/cached_tokens", Number::cached},
    {"/input_tokens_details/cache_write_tokens", Number::cache_write},
    {"/output_tokens", Number::output},
    {"/total_tokens", Number::total},
};
constexpr Place kGeneratePlaces[] = {
    {"/promptTokenCount", Number::prompt},
    {"/toolUsePromptTokenCount", Number::tool_prompt},
    {"/cachedContentTokenCount", Number::cached},
    {"/candidatesTokenCount", Number::output},
    {"/thoughtsTokenCount", Number::thoughts},
    {"/totalTokenCount", Number::total},
};

std::span<const Place> places_of(ModelDialect dialect) {
  switch (dialect) {
    case ModelDialect::messages:
      return kMessagesPlaces;
    case ModelDialect::chat:
      return kChatPlaces;
    case ModelDialect::responses:
      return kResponsesPlaces;
    case ModelDialect::generate:
      break;
  }
  return kGeneratePlaces;
}

/// Where the object with the counts stands: in a whole answer, and in an event.
std::span<const std::string_view> roots_of(ModelDialect dialect) {
  static constexpr std::string_view kMessages[] = {"/usage", "/message/usage"};
  static constexpr std::string_view kChat[] = {"/usage"};
  static constexpr std::string_view kResponses[] = {"/usage", "/response/usage"};
  static constexpr std::string_view kGenerate[] = {"/usageMetadata", "/[]/usageMetadata"};
  switch (dialect) {
    case ModelDialect::messages:
      return kMessages;
    case ModelDialect::chat:
      return kChat;
    case ModelDialect::responses:
      return kResponses;
    case ModelDialect::generate:
      break;
  }
  return kGenerate;
}

bool is_event_stream(std::string_view content_type) {
  std::string_view type = content_type.substr(0, content_type.find(';'));
  while (!type.empty() && (type.back() == ' ' || type.back() == '\t')) type.remove_suffix(1);
  while (!type.empty() && (type.front() == ' ' || type.front() == '\t')) type.remove_prefix(1);
  return equal_ignoring_case(type, "text/event-stream");
}

/// The type of the event behind which an answer has no more.
bool is_last_event(ModelDialect dialect, std::string_view type) {
  if (dialect == ModelDialect::messages) return type == "message_stop";
  if (dialect != ModelDialect::responses) return false;
  return type == "response.completed" || type == "response.incomplete" ||
         type == "response.failed" || type == "response.cancelled";
}

/// Where Gemini says that it has ended. Other answers say it in other ways.
bool says_it_ends(std::string_view path) {
  if (path.starts_with("/[]")) path.remove_prefix(3);
  return path == "/candidates/[]/finishReason" || path == "/promptFeedback/blockReason";
}

}  // namespace

struct UsageCounter::Reading {
  Reading(ModelDialect which, bool as_events)
      : dialect(which),
        streamed(as_events),
        json([this](std::string_view path, const JsonScanner::Value& value) {
          visit(path, value);
        }),
        events([this](std::string_view piece) { take(piece); }, [this] { end_event(); }) {}

  void visit(std::string_view path, const JsonScanner::Value& value) {
    if (value.kind == JsonScanner::Kind::text) {
      if (streamed && path == "/type" && is_last_event(dialect, value.text)) event_is_last = true;
      if (dialect == ModelDialect::generate && says_it_ends(path)) says_end = true;
      return;
    }
    if (value.kind == JsonScanner::Kind::end) {
      // An answer as a whole, or one of those that a stream of Gemini's is a list of.
      if (!streamed && (path.empty() || path == "/[]")) keep();
      return;
    }
    if (value.kind != JsonScanner::Kind::integer && value.kind != JsonScanner::Kind::real) return;
    for (std::string_view root : roots_of(dialect)) {
      if (!path.starts_with(root)) continue;
      std::string_view below = path.substr(root.size());
      for (const Place& place : places_of(dialect)) {
        if (below == place.path) count(place.number, value);
      }
    }
  }

  void count(Number number, const JsonScanner::Value& value) {
    auto index = static_cast<size_t>(number);
    if (value.kind != JsonScanner::Kind::integer || value.integer < 0 ||
        value.integer > kMostTokens) {
      broken = true;
      return;
    }
    pending_told[index] = true;
    pending[index] = std::max(pending[index], value.integer);
  }

  /// What was said by an event, or an answer, that has arrived whole. Of half a one some counts are
  /// missing, and nobody knows which.
  void keep() {
    for (size_t i = 0; i < kNumbers; ++i) {
      told[i] = told[i] || pending_told[i];
      numbers[i] = std::max(numbers[i], pending[i]);
    }
  }

  /// A piece of an event's data.
  void take(std::string_view piece) {
    if (dialect == ModelDialect::chat && event_start.size() <= kChatEnd.size()) {
      // The mark at the end is no JSON, so what may become it is held back.
      event_start.append(piece);
      if (kChatEnd.starts_with(event_start)) return;
      std::string held = std::move(event_start);
      event_start.assign(kChatEnd.size() + 1, '\0');
      read(held);
      return;
    }
    read(piece);
  }

  void read(std::string_view piece) {
    if (!json.feed(piece)) event_broken = true;
  }

  void end_event() {
    if (dialect == ModelDialect::chat && event_start == kChatEnd) {
      says_end = true;
    } else {
      if (kChatEnd.starts_with(event_start)) read(event_start);
      if (event_broken || !json.finish()) {
        broken = true;
      } else {
        keep();
        says_end = says_end || event_is_last;
      }
    }
    pending.fill(0);
    pending_told.fill(false);
    json.reset();
    event_start.clear();
    event_broken = false;
    event_is_last = false;
  }

  int64_t number(Number which) const { return numbers[static_cast<size_t>(which)]; }
  bool is_told(Number which) const { return told[static_cast<size_t>(which)]; }

  ModelUsage usage() const {
    ModelUsage result;
    result.cached_tokens = number(Number::cached);
    result.cache_write_tokens = std::max(number(Number::cache_write), number(Number::cache_write_1h));
    result.cache_write_1h_tokens = number(Number::cache_write_1h);
    int64_t spoken = number(Number::output) + number(Number::thoughts);
    if (dialect == ModelDialect::messages) {
      result.input_tokens = number(Number::input);
      result.output_tokens = spoken;
      return result;
    }
    int64_t prompt = number(Number::prompt);
    // Parts that say more than the whole: they count, and nothing is left for the rest.
    int64_t rest = prompt - result.cached_tokens - result.cache_write_tokens;
    result.input_tokens = std::max<int64_t>(rest, 0) + number(Number::tool_prompt);
    int64_t beyond = number(Number::total) - prompt - number(Number::tool_prompt);
    result.output_tokens = std::max(spoken, beyond);
    return result;
  }

  bool whole(bool in_order) {
    bool input = is_told(dialect == ModelDialect::messages ? Number::input : Number::prompt);
    // Gemini leaves out counts that are 0, as when it has blocked the prompt.
    bool output = is_told(Number::output) ||
                  (dialect == ModelDialect::generate && is_told(Number::total));
    if (broken || !input || !output) return false;
    if (!streamed) return in_order && json_complete;
    switch (dialect) {
      case ModelDialect::messages:
      case ModelDialect::responses:
        return says_end;
      case ModelDialect::chat:
        return says_end || in_order;  // not every compatible server sends the mark
      case ModelDialect::generate:
        break;
    }
    return says_end && in_order;
  }

  ModelDialect dialect;
  bool streamed;
  JsonScanner json;  ///< of the answer, or of the event that is being read
  EventStream events;
  std::array<int64_t, kNumbers> numbers{};
  std::array<bool, kNumbers> told{};
  std::array<int64_t, kNumbers> pending{};
  std::array<bool, kNumbers> pending_told{};
  std::string event_start;  ///< of the chat's event: bytes held back; longer than the mark once read
  bool event_broken = false;
  bool event_is_last = false;
  bool says_end = false;
  bool broken = false;
  bool json_complete = false;
};

UsageCounter::UsageCounter(ModelDialect dialect, std::string_view content_type)
    : reading_(std::make_unique<Reading>(dialect, is_event_stream(content_type))) {}
UsageCounter::UsageCounter(UsageCounter&&) noexcept = default;
UsageCounter& UsageCounter::operator=(UsageCounter&&) noexcept = default;
UsageCounter::~UsageCounter() = default;

void UsageCounter::feed(std::string_view piece) {
  if (reading_->streamed) {
    reading_->events.feed(piece);
  } else if (!reading_->json.feed(piece)) {
    reading_->broken = true;
  }
}

UsageCounter::Outcome UsageCounter::finish(bool in_order) {
  if (reading_->streamed) {
    if (in_order) reading_->events.finish();
  } else {
    reading_->json_complete = in_order && reading_->json.finish();
  }
  Outcome outcome;
  outcome.usage = reading_->usage();
  bool any = std::find(reading_->told.begin(), reading_->told.end(), true) != reading_->told.end();
  if (reading_->whole(in_order)) {
    outcome.told = Told::all;
  } else if (any) {
    outcome.told = Told::part;
  }
  return outcome;
}

}  // namespace hako::wire
