#include "api/egress_usage.h"

#include <algorithm>

#include "api/egress_control.h"
#include "api/now.h"
#include "api/tenants.h"
#include "base/clock.h"
#include "base/log.h"

namespace hako::api {
using namespace std::chrono_literals;
using store::TenantStore;

namespace {

constexpr auto kWriteEvery = 1s;
/// The longest that a quota of traffic is for, and as much again: a clock may be set back.
constexpr std::chrono::milliseconds kKeptFor = 24h;

void log_failed(const Error& error, const char* what = "traffic not counted yet") {
  boost::json::object fields;
  fields["error"] = error.message();
  log_warn(what, std::move(fields));
}

}  // namespace

Result<std::optional<int64_t>> traffic_left(TenantStore& store, const std::string& tenant,
                                            const policy::Quota& quota, int64_t now_ms) {
  std::optional<int64_t> left;
  if (!quota.egress_bytes_per_day) return left;
  HAKO_TRY(auto used, store.traffic_of(tenant, traffic_period(now_ms)));
  left = std::max<int64_t>(0, *quota.egress_bytes_per_day - used);
  return left;
}

policy::EgressLayer closed_by_quota() {
  policy::EgressLayer layer;
  layer.name = "tenant quota";
  return layer;
}

void EgressUsage::add(const std::string& sandbox, int64_t bytes) {
  int64_t& sum = seen_[sandbox];
  if (bytes > 0 && bytes < INT64_MAX - sum) sum += bytes;
}

void EgressUsage::gone(const std::string& sandbox) {
  gone_.insert(sandbox);
}

Task<void> EgressUsage::find_whose() {
  auto seen = std::exchange(seen_, {});
  for (const auto& [sandbox, bytes] : seen) {
    if (!tenants_.contains(sandbox)) {
      auto found = co_await store_.find_sandbox(sandbox);
      if (!found) {
        log_failed(found.error());
        seen_[sandbox] += bytes;
        continue;
      }
      if (!found.value()) continue;
      tenants_[sandbox] = found.value()->tenant;
    }
    int64_t& sum = added_[tenants_[sandbox]];
    if (bytes > 0 && bytes < INT64_MAX - sum) sum += bytes;
  }
  for (const std::string& sandbox : std::exchange(gone_, {})) tenants_.erase(sandbox);
}

Task<Result<bool>> EgressUsage::is_used_up(std::string tenant, int64_t more, std::string day) {
  auto work = [tenant, more, day](TenantStore& store) -> Result<bool> {
    HAKO_TRY(auto used, store.add_traffic(tenant, day, more));
    HAKO_TRY(auto record, store.find_tenant(tenant));
    if (!record) return false;
    HAKO_TRY(auto quota, read_quota(record->quota));
    return quota.egress_bytes_per_day && used >= *quota.egress_bytes_per_day;
  };
  co_return co_await store_.with_tenants(std::move(work));
}

Task<Result<void>> EgressUsage::find_used_up() {
  auto work = [day = day_](TenantStore& store) -> Result<std::set<std::string>> {
    std::set<std::string> found;
    HAKO_TRY(auto all, store.all_tenants());
    for (const auto& record : all) {
      auto quota = read_quota(record.quota);
      if (!quota || !quota.value().egress_bytes_per_day) continue;
      HAKO_TRY(auto used, store.traffic_of(record.name, day));
      if (used >= *quota.value().egress_bytes_per_day) found.insert(record.name);
    }
    return found;
  };
  HAKO_CO_TRY(closed_, co_await store_.with_tenants(std::move(work)));
  co_return ok();
}

Task<void> EgressUsage::forget_old_days(std::string today, int64_t now_ms) {
  if (forgot_on_ == today) co_return;
  auto work = [first = traffic_period(now_ms - kKeptFor.count())](TenantStore& store) {
    return store.forget_traffic(first);
  };
  auto forgotten = co_await store_.with_tenants(std::move(work));
  if (!forgotten) co_return log_failed(forgotten.error(), "traffic of old days not forgotten yet");
  forgot_on_ = today;
}

Task<void> EgressUsage::write_down() {
  int64_t now_ms = unix_now_ms();
  std::string today = traffic_period(now_ms);
  if (day_.empty()) {
    // Of an earlier run, whose sandboxes are closed already.
    day_ = today;
    auto found = co_await find_used_up();
    if (!found) {
      day_.clear();
      log_failed(found.error());
      co_return;
    }
  }
  if (today != day_) {
    day_ = today;
    auto closed = std::exchange(closed_, {});
    for (const std::string& tenant : closed) {
      co_await egress_.push_tenant(tenant);
    }
  }
  co_await find_whose();
  auto added = std::exchange(added_, {});
  for (const auto& [tenant, bytes] : added) {
    if (bytes == 0) continue;
    auto used_up = co_await is_used_up(tenant, bytes, today);
    if (!used_up) {
      added_[tenant] += bytes;
      log_failed(used_up.error());
      continue;
    }
    bool was = closed_.contains(tenant);
    if (used_up.value()) closed_.insert(tenant);
    if (!used_up.value()) closed_.erase(tenant);
    if (was != used_up.value()) co_await egress_.push_tenant(tenant);
  }
  co_await forget_old_days(std::move(today), now_ms);
}

Task<void> EgressUsage::run() {
  for (;;) {
    co_await sleep_for(kWriteEvery);
    co_await write_down();
  }
}

}  // namespace hako::api
