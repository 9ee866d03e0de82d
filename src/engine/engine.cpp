#include "engine/engine.h"

#include <cstdlib>

namespace hako::engine {

std::string_view to_string(Isolation isolation) {
  return isolation == Isolation::hardware ? "hardware" : "emulated";
}

bool Fingerprint::compatible_with(const Fingerprint& other) const {
  if (engine != other.engine || vmm_build != other.vmm_build || isolation != other.isolation ||
      cpu != other.cpu)
    return false;
  // A guest's clocks run at the rate it was told when it booted.
  constexpr int64_t kMillion = 1'000'000;
  constexpr int64_t kTolerance = 500;  // parts per million
  if (tsc_khz <= 0 || other.tsc_khz <= 0) return false;
  int64_t difference = std::llabs(tsc_khz - other.tsc_khz);
  return difference <= tsc_khz / kMillion * kTolerance + tsc_khz % kMillion * kTolerance / kMillion;
}

}  // namespace hako::engine
