#include "api/tenant_limits.h"

#include "api/egress_policy.h"

namespace hako::api {
using namespace std::chrono_literals;
using policy::Decision;

namespace {

/// Calls of all tenants that are under way at once. Many times what one may have: whoever sends a
/// body slowly, or is slowed down, keeps a turn for long.
constexpr int kCallsInAll = 1024;
constexpr int kTenantsAtLeast = 4;
constexpr size_t kCallsWaiting = 256;
constexpr auto kLongestCreateWait = 30s;
/// What is in the way of a call or a create is gone after about so long.
constexpr auto kCallRetry = 1s;
constexpr auto kCreateRetry = 5s;
/// A quota of none: whoever raises it does so by hand.
constexpr auto kNeverRetry = 3600s;

Error refused(const char* rule, const char* reason, const char* remedy, std::chrono::seconds wait) {
  Decision decision = Decision::deny(rule, reason, remedy);
  return Error(ErrorCode::resource_exhausted, with_rule(decision)).with_retry_after(wait);
}

FairQueue::Limits call_limits(const config::Config& config) {
  FairQueue::Limits limits;
  limits.turns = std::max(kCallsInAll, kTenantsAtLeast * config.calls_at_once);
  limits.turns_of_one = config.calls_at_once;
  limits.waiting_of_one = kCallsWaiting;
  return limits;
}

FairQueue::Limits create_limits(const config::Config& config) {
  FairQueue::Limits limits;
  limits.turns = config.creates_at_once;
  // One turn is left, so that another tenant's create begins at once.
  limits.turns_of_one = std::max(1, config.creates_at_once - 1);
  limits.waiting_of_one = static_cast<size_t>(config.creates_waiting);
  return limits;
}

}  // namespace

TenantLimits::TenantLimits(const config::Config& config)
    : calls_(call_limits(config)),
      creates_(create_limits(config)),
      calls_per_second_(config.calls_per_second) {}

Task<Result<FairQueue::Turn>> TenantLimits::take_call(std::string tenant) {
  auto turn = co_await calls_.take(tenant);
  if (!turn) {
    co_return refused("fairness.calls", "too many calls of this tenant are under way",
                      "make fewer at once", kCallRetry);
  }
  auto wait = pace(tenant, std::chrono::steady_clock::now());
  if (wait > wait.zero()) co_await sleep_for(wait);
  co_return std::move(turn);
}

TokenBucket::Duration TenantLimits::pace(const std::string& tenant, Time now) {
  double rate = calls_per_second_;
  return paces_.try_emplace(tenant, TokenBucket(rate, rate)).first->second.spend(now, 1);
}

Result<void> TenantLimits::may_create(const std::string& tenant, const policy::Quota& quota,
                                      Time now) {
  if (!quota.creates_per_minute) {
    rates_.erase(tenant);
    return ok();
  }
  int64_t most = *quota.creates_per_minute;
  std::string reason =
      "the tenant's quota is " + std::to_string(most) + " new sandboxes per minute";
  const char* remedy = "wait, or have the operator raise the quota";
  if (most == 0) return refused("quota.creates", reason.c_str(), remedy, kNeverRetry);
  double per_second = double(most) / 60, burst = double(most);
  Rate& rate = rates_.try_emplace(tenant, Rate{most, TokenBucket(per_second, burst)}).first->second;
  if (rate.per_minute != most) rate.bucket.change(now, per_second, burst);
  rate.per_minute = most;
  auto wait = std::chrono::ceil<std::chrono::seconds>(rate.bucket.wait(now));
  if (wait <= 0s) return ok();
  return refused("quota.creates", reason.c_str(), remedy, wait);
}

Result<void> TenantLimits::count_create(const std::string& tenant, const policy::Quota& quota,
                                        Time now) {
  HAKO_TRYV(may_create(tenant, quota, now));
  if (auto rate = rates_.find(tenant); rate != rates_.end()) rate->second.bucket.take(now);
  return ok();
}

Task<Result<FairQueue::Turn>> TenantLimits::take_create(std::string tenant) {
  auto taking = creates_.take(std::move(tenant));
  auto turn = co_await with_deadline(kLongestCreateWait, std::move(taking));
  if (turn) co_return std::move(turn);
  bool late = turn.error().code() == ErrorCode::timed_out;
  co_return refused("fairness.creates",
                    late ? "other sandboxes are being made, and this one's turn did not come"
                         : "too many sandboxes of this tenant are waiting to be made",
                    "make fewer at once", kCreateRetry);
}

}  // namespace hako::api
