// Bodies of create requests, as any holder of a key may send them.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "api/requests.h"

namespace {

using hako::api::Generation;

void require(bool holds) {
  if (!holds) std::abort();
}

bool within(const hako::api::TextPairs& pairs, const hako::api::MapLimits& limits) {
  size_t total = 0;
  for (const auto& [key, value] : pairs) {
    if (key.empty() || key.size() > limits.key || value.size() > limits.value) return false;
    if ((key + value).find('\0') != std::string::npos) return false;
    total += key.size() + value.size();
  }
  return pairs.size() <= limits.pairs && total <= limits.total;
}

void check(std::string_view body, Generation generation) {
  auto parsed = hako::api::parse_create(body, generation);
  if (!parsed) {
    require(!parsed.error().message().empty());
    // A message must not carry the whole body back into answers and logs.
    require(parsed.error().message().size() < 1024);
    return;
  }
  const auto& request = parsed.value();
  require(!request.template_reference.empty() && request.template_reference.size() <= body.size());
  require(request.timeout.count() > 0);
  require(within(request.metadata, hako::api::kMetadataLimits));
  require(within(request.environment, hako::api::kEnvironmentLimits));
  for (const auto& [name, value] : request.environment) {
    require(name.find('=') == std::string::npos);
  }
  require(generation == Generation::v1 || request.secure);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  // SAFETY: bytes looked at as text.
  std::string_view body(reinterpret_cast<const char*>(data), size);
  check(body, Generation::v1);
  check(body, Generation::v2);
  return 0;
}
