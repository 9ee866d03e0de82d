// Tenants: who may have what, as the operator sets it up and their own people see it.
#pragma once

#include <boost/json.hpp>

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/principal.h"
#include "base/async/task.h"
#include "policy/quota.h"
#include "store/async_store.h"

namespace hako::api {

inline constexpr size_t kMostTenants = 1000;

/// What may do less than before. An empty `key_id`: every key of the tenant; an empty `token_id`: the
/// key and all its tokens.
struct KeyChange {
  std::string tenant;
  std::string key_id;
  std::string token_id;
};

/// Told of it after it is written down and before anybody is answered.
using KeysChanged = std::function<Task<void>(KeyChange)>;

/// What a request sets of a tenant. What is nothing stays as it is, or is empty for a new one.
struct TenantRequest {
  std::string name;  ///< of a new one
  std::optional<policy::Narrowing> policy;
  std::optional<policy::Quota> quota;
  std::optional<bool> suspended;
};

/// {name, policy?, quota?, suspended?}. invalid_argument names the member, unknown ones included.
Result<TenantRequest> parse_new_tenant(std::string_view body);
/// {policy?, quota?, suspended?}.
Result<TenantRequest> parse_tenant_change(std::string_view body);

/// A tenant with what it has in use now; its day's bytes, both directions.
struct TenantInUse {
  store::TenantRecord record;
  store::Usage usage;
  int64_t bytes_today = 0;
};

/// {name, policy, quota, suspended, createdAt}.
boost::json::object tenant_json(const store::TenantRecord& record);
/// {boxes, vcpus, memoryMB, diskMB, egressBytesToday}.
boost::json::object usage_json(const TenantInUse& tenant);

/// A tenant's quota as the store has it. corrupted if it cannot be read: it is a restriction.
Result<policy::Quota> read_quota(std::string_view stored);
/// The day of UTC, "2026-11-25": the period of store::TenantStore::add_traffic().
std::string traffic_period(int64_t now_ms);

/// Whether nothing in their tenant is hidden from them, so that its sums betray nothing.
bool sees_whole_tenant(const Principal& who, const store::TenantRecord& tenant);

/// Errors of all calls are fit for the user. To whoever is not the operator no tenant but their own
/// exists. Thread: one executor. Calls may overlap.
class Tenants {
 public:
  Tenants(store::AsyncStore& store, KeysChanged changed)
      : store_(store), changed_(std::move(changed)) {}

  /// Ordered by name.
  Task<Result<std::vector<store::TenantRecord>>> list(Principal who);
  /// not_found.
  Task<Result<TenantInUse>> find(std::string name, Principal who);
  /// already_exists; resource_exhausted.
  Task<Result<store::TenantRecord>> add(TenantRequest request);
  /// not_found; failed_precondition for what would lock the operator out.
  Task<Result<store::TenantRecord>> change(std::string name, TenantRequest request);
  /// With its keys. not_found; failed_precondition while it has sandboxes or templates.
  Task<Result<void>> remove(std::string name);

 private:
  store::AsyncStore& store_;
  KeysChanged changed_;
};

}  // namespace hako::api
