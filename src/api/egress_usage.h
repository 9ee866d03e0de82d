// How much goes out of and into each tenant's sandboxes in a day, and what happens when that is
// more than its quota.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>

#include "api/egress_ceilings.h"
#include "policy/quota.h"
#include "store/async_store.h"

namespace hako::api {

class EgressControl;

/// Bytes that the quota leaves for today, at least 0; nothing without one. Blocking.
Result<std::optional<int64_t>> traffic_left(store::TenantStore& store, const std::string& tenant,
                                            const policy::Quota& quota, int64_t now_ms);

/// What is over for today: nothing goes out.
policy::EgressLayer closed_by_quota();

/// Adds up the bytes that sandboxes move, a second after they are told. A tenant that has used up its
/// day is closed then, all its sandboxes, until the next. Thread: one executor.
class EgressUsage {
 public:
  EgressUsage(store::AsyncStore& store, EgressControl& egress) : store_(store), egress_(egress) {}

  /// Also without any bytes, when a connection begins: whose sandbox it is must be looked up while
  /// it is there. One that ends within a second of its first connection counts for nobody.
  void add(const std::string& sandbox, int64_t bytes);
  /// What is added of it by then still counts.
  void gone(const std::string& sandbox);

  /// Until cancelled.
  Task<void> run();
  /// Once.
  Task<void> write_down();

 private:
  Task<void> find_whose();
  Task<Result<bool>> is_used_up(std::string tenant, int64_t more, std::string day);
  Task<Result<void>> find_used_up();
  /// Of days that no quota is about any more.
  Task<void> forget_old_days(std::string today, int64_t now_ms);

  store::AsyncStore& store_;
  EgressControl& egress_;
  std::map<std::string, std::string> tenants_;  ///< of sandboxes
  std::map<std::string, int64_t> seen_;         ///< bytes of sandboxes since the last time
  std::map<std::string, int64_t> added_;        ///< bytes of tenants, not written down yet
  std::set<std::string> gone_;                  ///< sandboxes to be forgotten
  std::set<std::string> closed_;                ///< tenants that have used up `day_`
  std::string day_;
  std::string forgot_on_;  ///< the day on which old ones were last forgotten
};

}  // namespace hako::api
