// How much a tenant may have and do in all, as JSON and as values. Pure.
#pragma once

#include <boost/json.hpp>

#include <cstdint>
#include <optional>

#include "base/result.h"
#include "policy/decision.h"

namespace hako::policy {

/// A member that is nothing limits nothing; zero allows nothing.
struct Quota {
  std::optional<int64_t> boxes;  ///< that run or start
  std::optional<int64_t> vcpus;  ///< of all of them; as memory and disk
  std::optional<int64_t> memory_mib;
  std::optional<int64_t> disk_mib;
  std::optional<int64_t> creates_per_minute;
  std::optional<int64_t> egress_bytes_per_day;  ///< both directions; a day is that of UTC
  /// What its boxes may call of models; a month is that of UTC, money in millionths of a dollar.
  std::optional<int64_t> model_requests_per_month, model_tokens_per_month, model_microusd_per_month;
  bool operator==(const Quota&) const = default;
};

/// {boxes?, vcpus?, memoryMB?, diskMB?, createsPerMinute?, egressBytesPerDay?,
/// modelRequestsPerMonth?, modelTokensPerMonth?, modelMicroUSDPerMonth?}: whole numbers, or
/// null for no limit. invalid_argument names the member, unknown ones included.
Result<Quota> quota_from(const boost::json::object& object);
/// The object from which quota_from() makes the same.
boost::json::object to_json(const Quota& quota);

/// What sandboxes take at once.
struct Amounts {
  int64_t boxes = 0;
  int64_t vcpus = 0;
  int64_t memory_mib = 0;
  int64_t disk_mib = 0;
  bool operator==(const Amounts&) const = default;
};

/// Whether `asked` fits beside what is `in_use`. Rules, in this order: "quota.boxes",
/// "quota.vcpus", "quota.memory", "quota.disk".
Decision within(const Quota& quota, const Amounts& in_use, const Amounts& asked);

}  // namespace hako::policy
