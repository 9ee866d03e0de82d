#include "api/model_message.h"

#include <algorithm>

#include "api/field_reader.h"
#include "wire/model_call.h"

namespace hako::api {
namespace json = boost::json;

namespace {

constexpr size_t kLongestCallingBox = 256;
constexpr size_t kLongestModelHost = 253;
constexpr size_t kLongestModelWord = 128;
constexpr size_t kLongestModelPath = 2048;
constexpr size_t kLongestStopReason = 256;
/// More than a gate takes of a body, and more than any model says.
constexpr int64_t kMostInputBytes = int64_t(1) << 30;
constexpr int64_t kMostTokensOfCall = 1'000'000'000;
constexpr int64_t kMostAnswersOfCall = 1000;

bool is_printable(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < 0x7f; });
}

constexpr std::pair<std::string_view, ModelOutcome> kOutcomes[] = {
    {"ok", ModelOutcome::ok},
    {"cut", ModelOutcome::cut},
    {"failed", ModelOutcome::failed},
    {"uncounted", ModelOutcome::uncounted},
    {"lost", ModelOutcome::lost},
};

}  // namespace

std::string_view to_string(ModelOutcome outcome) {
  for (const auto& [word, value] : kOutcomes) {
    if (value == outcome) return word;
  }
  return "lost";
}

Result<ModelCallRequest> parse_model_call(const json::object& body) {
  FieldReader reader(body, "model.reserve: ");
  ModelCallRequest call;
  auto word = [&](std::string_view name, size_t longest) {
    auto value = reader.text(name, longest);
    if (!value || value->empty() || !is_printable(*value)) reader.fail(name, "must be a word");
    return value.value_or("");
  };
  call.box = word("box", kLongestCallingBox);
  call.host = word("host", kLongestModelHost);
  call.port = static_cast<uint16_t>(reader.number("port", 1, 65535).value_or(443));
  call.api = word("api", kLongestModelWord);
  call.model = word("model", kLongestModelWord);
  call.path = word("path", kLongestModelPath);
  call.stream = reader.flag("stream").value_or(false);
  auto bytes = reader.number("input_bytes", 0, kMostInputBytes);
  if (!bytes) reader.fail("input_bytes", "must be there");
  call.input_bytes = bytes.value_or(0);
  call.max_output_tokens = reader.number("max_output_tokens", 1, kMostTokensOfCall);
  // Left out they would make a call look cheaper than it is.
  auto answers = reader.number("answers", 1, kMostAnswersOfCall);
  if (!answers) reader.fail("answers", "must be there");
  call.answers = answers.value_or(kMostAnswersOfCall);
  auto opaque = reader.flag("opaque_input");
  if (!opaque) reader.fail("opaque_input", "must be there");
  call.opaque_input = opaque.value_or(true);
  auto extras = reader.text_list("extras", wire::kMostExtras, kLongestModelWord);
  if (!extras) reader.fail("extras", "must be there");
  call.extras = extras.value_or(std::vector<std::string>());
  HAKO_TRYV(reader.outcome());
  return call;
}

Result<ModelCallEnd> parse_model_end(const json::object& body) {
  FieldReader reader(body, "model.settle: ");
  ModelCallEnd end;
  end.reservation = reader.text("reservation", kLongestModelWord).value_or("");
  std::string outcome = reader.text("outcome", kLongestModelWord).value_or("");
  auto known = std::find_if(std::begin(kOutcomes), std::end(kOutcomes),
                            [&](const auto& each) { return each.first == outcome; });
  if (known == std::end(kOutcomes) || known->second == ModelOutcome::lost) {
    reader.fail("outcome", "must be ok, cut, failed or uncounted");
  } else {
    end.outcome = known->second;
  }
  end.went_out = reader.number("requests", 0, 1).value_or(1) == 1;
  auto tokens = [&](std::string_view name) {
    return reader.number(name, 0, kMostTokensOfCall * 1000).value_or(0);
  };
  end.tokens.input = tokens("input_tokens");
  end.tokens.output = tokens("output_tokens");
  end.tokens.cached = tokens("cached_tokens");
  end.tokens.cache_write = tokens("cache_write_tokens");
  end.tokens.cache_write_1h = tokens("cache_write_1h_tokens");
  HAKO_TRYV(reader.outcome());
  return end;
}

Result<ModelSwitch> parse_model_switch(std::string_view body, bool with_reason) {
  HAKO_TRY(auto object, parse_body(body));
  FieldReader reader(object);
  if (with_reason) {
    reader.allow_only({"tenant", "reason"});
  } else {
    reader.allow_only({"tenant"});
  }
  ModelSwitch wanted;
  wanted.tenant = reader.text("tenant", kLongestModelWord);
  if (with_reason) wanted.reason = reader.text("reason", kLongestStopReason).value_or("");
  HAKO_TRYV(reader.outcome());
  return wanted;
}

}  // namespace hako::api
