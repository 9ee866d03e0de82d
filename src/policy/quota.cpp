#include "policy/quota.h"

#include <algorithm>
#include <array>
#include <string>

namespace hako::policy {
namespace json = boost::json;
namespace {

struct Member {
  const char* name;
  std::optional<int64_t> Quota::*value;
};
constexpr std::array kMembers = {
    Member{"boxes", &Quota::boxes},
    Member{"vcpus", &Quota::vcpus},
    Member{"memoryMB", &Quota::memory_mib},
    Member{"diskMB", &Quota::disk_mib},
    Member{"createsPerMinute", &Quota::creates_per_minute},
    Member{"egressBytesPerDay", &Quota::egress_bytes_per_day},
};

/// Numbers that every reader of JSON takes for whole ones, and of which a few can be added up.
constexpr int64_t kMost = 1'000'000'000'000'000;

}  // namespace

Result<Quota> quota_from(const json::object& object) {
  Quota quota;
  for (const auto& [name, value] : object) {
    std::string text(name.data(), name.size());
    auto member = std::find_if(kMembers.begin(), kMembers.end(),
                               [&](const Member& each) { return text == each.name; });
    if (member == kMembers.end()) {
      return Error(ErrorCode::invalid_argument, "quota: nobody here knows \"" + text + "\"");
    }
    if (value.is_null()) continue;
    const int64_t* number = value.if_int64();
    if (!number || *number < 0 || *number > kMost) {
      return Error(ErrorCode::invalid_argument,
                   "quota: " + text + " must be a whole number from 0 to " + std::to_string(kMost));
    }
    quota.*(member->value) = *number;
  }
  return quota;
}

json::object to_json(const Quota& quota) {
  json::object object;
  for (const Member& member : kMembers) {
    if (const auto& value = quota.*(member.value)) object[member.name] = *value;
  }
  return object;
}

}  // namespace hako::policy
