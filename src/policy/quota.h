// How much a tenant may have and do in all, as JSON and as values. Pure.
#pragma once

#include <boost/json.hpp>

#include <cstdint>
#include <optional>

#include "base/result.h"

namespace hako::policy {

/// A member that is nothing limits nothing; zero allows nothing.
struct Quota {
  std::optional<int64_t> boxes;  ///< that run or start
  std::optional<int64_t> vcpus;  ///< of all of them; as memory and disk
  std::optional<int64_t> memory_mib;
  std::optional<int64_t> disk_mib;
  std::optional<int64_t> creates_per_minute;
  std::optional<int64_t> egress_bytes_per_day;  ///< both directions; a day is that of UTC
  bool operator==(const Quota&) const = default;
};

/// {boxes?, vcpus?, memoryMB?, diskMB?, createsPerMinute?, egressBytesPerDay?}: whole numbers, or
/// null for no limit. invalid_argument names the member, unknown ones included.
Result<Quota> quota_from(const boost::json::object& object);
/// The object from which quota_from() makes the same.
boost::json::object to_json(const Quota& quota);

}  // namespace hako::policy
