#include "api/sample.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "base/clock.h"

namespace hako::api {
namespace json = boost::json;

namespace {

/// No machine has more; what a guest says beyond is nonsense.
constexpr double kMostBytes = 1LL << 50;
constexpr double kMostGuestCpus = 4096;

/// A number of a guest, if it can be one. NaN cannot occur in JSON.
std::optional<double> number_of(const json::object& object, std::string_view name, double most) {
  const json::value* found = object.if_contains(json::string_view(name.data(), name.size()));
  if (!found || !found->is_number()) return std::nullopt;
  json::error_code bad;
  double number = found->to_number<double>(bad);
  if (bad || !std::isfinite(number) || number < 0 || number > most) return std::nullopt;
  return number;
}

}  // namespace

Result<Sample> parse_sample(std::string_view body, int64_t now_ms) {
  json::error_code bad;
  json::value value = json::parse(json::string_view(body.data(), body.size()), bad);
  const json::object* object = bad ? nullptr : value.if_object();
  if (!object) return Error(ErrorCode::corrupted, "the guest's metrics are not a JSON object");
  auto cpus = number_of(*object, "cpu_count", kMostGuestCpus);
  auto used = number_of(*object, "cpu_used_pct", 1e6);
  Sample sample;
  struct Size {
    const char* name;
    int64_t Sample::*member;
  };
  constexpr Size kSizes[] = {{"mem_used", &Sample::mem_used},
                             {"mem_total", &Sample::mem_total},
                             {"disk_used", &Sample::disk_used},
                             {"disk_total", &Sample::disk_total},
                             {"mem_cache", &Sample::mem_cache}};
  for (const Size& size : kSizes) {
    auto bytes = number_of(*object, size.name, kMostBytes);
    if (!bytes)
      return Error(ErrorCode::corrupted, std::string("the guest's metrics: bad ") + size.name);
    sample.*size.member = static_cast<int64_t>(*bytes);
  }
  if (!cpus || !used) return Error(ErrorCode::corrupted, "the guest's metrics: bad CPU use");
  sample.time_ms = now_ms;
  sample.cpu_count = static_cast<int64_t>(*cpus);
  sample.cpu_used_pct = std::min(*used, 100.0 * std::max(1.0, *cpus));
  return sample;
}

json::object sample_json(const Sample& sample) {
  json::object object;
  object["timestamp"] = to_rfc3339(from_unix_ms(sample.time_ms));
  object["timestampUnix"] = sample.time_ms / 1000;
  object["cpuCount"] = sample.cpu_count;
  object["cpuUsedPct"] = sample.cpu_used_pct;
  object["memUsed"] = sample.mem_used;
  object["memTotal"] = sample.mem_total;
  object["memCache"] = sample.mem_cache;
  object["diskUsed"] = sample.disk_used;
  object["diskTotal"] = sample.disk_total;
  return object;
}

}  // namespace hako::api
