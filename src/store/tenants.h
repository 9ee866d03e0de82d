// What the API remembers of tenants and of who may act in them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"

namespace hako::store {

/// The tenant that is always there: the operator's own, and that of everything which was made
/// before there were tenants.
inline constexpr const char* kDefaultTenant = "default";

/// Times are Unix milliseconds. What its policy and its quota mean is the API's to know.
struct TenantRecord {
  std::string name;    ///< unique
  std::string policy;  ///< JSON of a policy::Narrowing; empty: narrows nothing
  std::string quota;   ///< JSON; empty: none
  bool suspended = false;  ///< its keys and tokens are refused
  int64_t created_ms = 0;

  bool operator==(const TenantRecord&) const = default;
};

/// A key that may call the API. The key itself is nowhere: only its SHA-256, 64 hex digits. A slow
/// password hash would add nothing, as a key is 160 random bits and cannot be guessed; and it would
/// be paid with every request.
struct ApiKey {
  std::string id;
  std::string hash;
  std::string old_hash;      ///< before it was rotated; empty for none
  int64_t old_until_ms = 0;  ///< until when the old one counts as well
  std::string tenant = kDefaultTenant;
  std::string role = "member";  ///< a word of policy::Role
  std::string user;             ///< whose it is, for people to read
  std::string label;            ///< what it is for, for people to read
  std::string narrowing;        ///< JSON of a policy::Narrowing; empty: narrows nothing
  std::string clearance = "public";  ///< the highest label of what it may read
  int64_t created_ms = 0;
  int64_t expires_ms = 0;  ///< 0: never

  bool operator==(const ApiKey&) const = default;
};

/// What a tenant, or a budget, has in use now.
struct Usage {
  int64_t boxes = 0;  ///< sandboxes that are not paused; as vcpus and memory
  int64_t vcpus = 0;
  int64_t memory_mib = 0;
  int64_t disk_mib = 0;  ///< of all sandboxes; of a tenant also of its snapshots
  int64_t paused = 0;    ///< sandboxes that are
  bool operator==(const Usage&) const = default;
};

/// The rules of Store (store.h) hold.
class TenantStore {
 public:
  virtual ~TenantStore() = default;

  /// Ordered by name.
  virtual Result<std::vector<TenantRecord>> all_tenants() = 0;
  virtual Result<std::optional<TenantRecord>> find_tenant(const std::string& name) = 0;
  /// Adds it. already_exists.
  virtual Result<void> add_tenant(const TenantRecord& record) = 0;
  /// Changes it. not_found.
  virtual Result<void> put_tenant(const TenantRecord& record) = 0;
  /// With its keys and what is counted of it. failed_precondition while it has sandboxes,
  /// templates or snapshots, and for kDefaultTenant; not_found.
  virtual Result<void> remove_tenant(const std::string& name) = 0;

  /// Adds the key, or replaces the one of the same id. already_exists if another has its hash;
  /// not_found for an unknown tenant.
  virtual Result<void> put_key(const ApiKey& key) = 0;
  /// By its hash, or by that from before it was rotated if that still counts at `now_ms`.
  virtual Result<std::optional<ApiKey>> find_key(const std::string& hash, int64_t now_ms) = 0;
  virtual Result<std::optional<ApiKey>> find_key_by_id(const std::string& id) = 0;
  /// Ordered by when they were made.
  virtual Result<std::vector<ApiKey>> keys_of(const std::string& tenant) = 0;
  /// With what is known of its revoked tokens. not_found.
  virtual Result<void> remove_key(const std::string& id) = 0;

  /// A token is refused from now on; forgotten after `until_ms`, when it has expired anyway.
  /// not_found if there is no such key.
  virtual Result<void> revoke_token(const std::string& identifier, const std::string& key_id,
                                    int64_t until_ms) = 0;
  virtual Result<bool> is_token_revoked(const std::string& identifier) = 0;
  /// How many of this key's are remembered.
  virtual Result<int64_t> count_revoked(const std::string& key_id) = 0;
  /// The key was rotated: what is revoked of it until now is needed no longer than until then.
  virtual Result<void> expire_revoked(const std::string& key_id, int64_t until_ms) = 0;
  virtual Result<void> forget_revoked_before(int64_t now_ms) = 0;

  virtual Result<Usage> usage_of(const std::string& tenant) = 0;
  /// Of those made under this budget (SandboxRecord::budgets).
  virtual Result<Usage> usage_of_budget(const std::string& budget) = 0;

  /// Bytes that a tenant's sandboxes have sent and received in a period, which the API names:
  /// adds some, and says how many there are now. not_found for an unknown tenant.
  virtual Result<int64_t> add_traffic(const std::string& tenant, const std::string& period,
                                      int64_t bytes) = 0;
  virtual Result<int64_t> traffic_of(const std::string& tenant, const std::string& period) = 0;
  /// Of all tenants: what is of periods that sort before this one.
  virtual Result<void> forget_traffic(const std::string& before_period) = 0;
};

}  // namespace hako::store
