// What a guest says about its own resources: refused, or within bounds, and JSON again.
#include <cstdint>
#include <cstdlib>

#include "api/sample.h"

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view body(reinterpret_cast<const char*>(data), size);
  auto sample = hako::api::parse_sample(body, 1'700'000'000'000);
  if (!sample) return 0;
  const auto& value = sample.value();
  require(value.cpu_count >= 0 && value.cpu_used_pct >= 0 && value.mem_used >= 0);
  require(value.mem_total >= 0 && value.mem_cache >= 0 && value.disk_used >= 0);
  require(value.disk_total >= 0);
  boost::json::error_code bad;
  boost::json::parse(boost::json::serialize(hako::api::sample_json(value)), bad);
  require(!bad);
  return 0;
}
