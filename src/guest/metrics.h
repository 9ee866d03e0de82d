// How busy the machine is.
#pragma once

#include <cstdint>
#include <string>

namespace hako::guest {

/// Samples the kernel's counters. Thread: one.
class Metrics {
 public:
  /// The body of GET /metrics. CPU use is since the call before, or since boot.
  std::string sample();

 private:
  uint64_t last_busy_ = 0, last_total_ = 0;
};

}  // namespace hako::guest
