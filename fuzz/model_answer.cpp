// What a provider answers: in whatever pieces it comes the count is the same, no number is negative,
// and an answer of which the end is missing never counts as a whole one.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "wire/model_usage.h"

namespace {

using namespace hako::wire;

void require(bool holds) {
  if (!holds) std::abort();
}

UsageCounter::Outcome count(uint8_t kind, std::string_view answer, size_t piece, bool in_order) {
  UsageCounter counter(static_cast<ModelDialect>(kind & 3),
                       kind & 4 ? "text/event-stream" : "application/json");
  for (size_t at = 0; at < answer.size(); at += piece) counter.feed(answer.substr(at, piece));
  return counter.finish(in_order);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  std::string_view answer(reinterpret_cast<const char*>(data + 1), size - 1);
  auto whole = count(data[0], answer, answer.size() + 1, true);
  for (size_t piece : {size_t(1), size_t(7)}) {
    auto same = count(data[0], answer, piece, true);
    require(same.told == whole.told && same.usage == whole.usage);
  }
  const ModelUsage& usage = whole.usage;
  require(usage.input_tokens >= 0 && usage.cached_tokens >= 0 && usage.output_tokens >= 0);
  require(usage.cache_write_1h_tokens >= 0);
  require(usage.cache_write_tokens >= usage.cache_write_1h_tokens);
  if (whole.told == UsageCounter::Told::nothing) require(usage == ModelUsage());
  auto cut = count(data[0], answer, answer.size() + 1, false);
  require(cut.told <= whole.told);
  if (!(data[0] & 4)) require(cut.told != UsageCounter::Told::all);
  return 0;
}
