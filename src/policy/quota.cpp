#include "policy/quota.h"

#include <algorithm>
#include <array>
#include <string>

#include "policy/target_match.h"

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
    Member{"modelRequestsPerMonth", &Quota::model_requests_per_month},
    Member{"modelTokensPerMonth", &Quota::model_tokens_per_month},
    Member{"modelMicroUSDPerMonth", &Quota::model_microusd_per_month},
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
      return Error(ErrorCode::invalid_argument, "quota: nobody here knows " + in_quotes(text));
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

Decision within(const Quota& quota, const Amounts& in_use, const Amounts& asked) {
  struct Rule {
    const char* name;
    const char* unit;
    std::optional<int64_t> Quota::*most;
    int64_t Amounts::*amount;
  };
  constexpr Rule kRules[] = {
      {"quota.boxes", "sandboxes", &Quota::boxes, &Amounts::boxes},
      {"quota.vcpus", "virtual CPUs", &Quota::vcpus, &Amounts::vcpus},
      {"quota.memory", "MiB of memory", &Quota::memory_mib, &Amounts::memory_mib},
      {"quota.disk", "MiB of disk", &Quota::disk_mib, &Amounts::disk_mib},
  };
  for (const Rule& rule : kRules) {
    const auto& most = quota.*(rule.most);
    int64_t has = in_use.*(rule.amount), wants = asked.*(rule.amount);
    // Both may come from anywhere: no sum that could run over.
    if (!most || (has <= *most && wants <= *most - has)) continue;
    std::string unit = std::string(" ") + rule.unit;
    return Decision::deny(rule.name,
                          "the tenant's quota is " + std::to_string(*most) + unit + ", of which " +
                              std::to_string(has) + " are in use and " + std::to_string(wants) +
                              " more are asked for",
                          wants > *most ? "ask for less, or have the operator raise the quota"
                                        : "end sandboxes first, or have the operator raise the quota");
  }
  return Decision::allow("quota", "within the tenant's quota");
}

json::object to_json(const Quota& quota) {
  json::object object;
  for (const Member& member : kMembers) {
    if (const auto& value = quota.*(member.value)) object[member.name] = *value;
  }
  return object;
}

}  // namespace hako::policy
