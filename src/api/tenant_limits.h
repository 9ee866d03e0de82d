// What one tenant may have under way, so that none starves another.
#pragma once

#include <map>
#include <string>

#include "api/principal.h"
#include "base/async/fair_queue.h"
#include "base/token_bucket.h"
#include "config/config.h"

namespace hako::api {

/// Turns between tenants, and how often each may create. Errors of all calls: resource_exhausted,
/// with the rule and when to try again. Thread: one executor.
class TenantLimits {
 public:
  using Time = TokenBucket::Time;
  using Turn = FairQueue::Turn;

  explicit TenantLimits(const config::Config& config);

  /// Waits until this tenant may have one more call under way, and is not over the rate of calls that
  /// each may make. Rule "fairness.calls": too many of its calls wait already.
  Task<Result<Turn>> take_call(std::string tenant);

  /// Whether createsPerMinute of `quota` lets one more be made now. Rule "quota.creates".
  Result<void> may_create(const std::string& tenant, const policy::Quota& quota, Time now);
  /// The same, and counts it.
  Result<void> count_create(const std::string& tenant, const policy::Quota& quota, Time now);

  /// Waits until the node is to work on a create of this tenant. Rule "fairness.creates": too many
  /// of its creates wait already, or this one has waited too long.
  Task<Result<Turn>> take_create(std::string tenant);

 private:
  struct Rate {
    int64_t per_minute;
    TokenBucket bucket;
  };

  /// Counts a call, and says how long it is to wait.
  TokenBucket::Duration pace(const std::string& tenant, Time now);

  FairQueue calls_;
  FairQueue creates_;
  double calls_per_second_;
  std::map<std::string, TokenBucket> paces_;
  std::map<std::string, Rate> rates_;  ///< of tenants that have a quota of them
};

}  // namespace hako::api
