// One look at how much of its machine a sandbox uses.
#pragma once

#include <boost/json.hpp>

#include <cstdint>
#include <string_view>

#include "base/result.h"

namespace hako::api {

/// One look at a sandbox. Sizes in bytes; the time is this server's.
struct Sample {
  int64_t time_ms = 0;
  int64_t cpu_count = 0;
  double cpu_used_pct = 0;  ///< of all CPUs together, 0 to 100
  int64_t mem_used = 0, mem_total = 0, mem_cache = 0;
  int64_t disk_used = 0, disk_total = 0;
};

/// What the daemon answered to GET /metrics: hostile text. corrupted when it is not that.
Result<Sample> parse_sample(std::string_view body, int64_t now_ms);
boost::json::object sample_json(const Sample& sample);

}  // namespace hako::api
