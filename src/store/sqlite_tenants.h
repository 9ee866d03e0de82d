// Inside src/store only: the tables of tenants, keys, revoked tokens and traffic.
#pragma once

#include "store/sqlite.h"
#include "store/tenants.h"

namespace hako::store {

class SqliteTenants : public TenantStore {
 public:
  /// `database` must outlive this.
  explicit SqliteTenants(Database& database) : database_(database) {}

  Result<std::vector<TenantRecord>> all_tenants() override;
  Result<std::optional<TenantRecord>> find_tenant(const std::string& name) override;
  Result<void> add_tenant(const TenantRecord& record) override;
  Result<void> put_tenant(const TenantRecord& record) override;
  Result<void> remove_tenant(const std::string& name) override;

  Result<void> put_key(const ApiKey& key) override;
  Result<std::optional<ApiKey>> find_key(const std::string& hash, int64_t now_ms) override;
  Result<std::optional<ApiKey>> find_key_by_id(const std::string& id) override;
  Result<std::vector<ApiKey>> keys_of(const std::string& tenant) override;
  Result<void> remove_key(const std::string& id) override;

  Result<void> revoke_token(const std::string& identifier, const std::string& key_id,
                            int64_t until_ms) override;
  Result<bool> is_token_revoked(const std::string& identifier) override;
  Result<int64_t> count_revoked(const std::string& key_id) override;
  Result<void> expire_revoked(const std::string& key_id, int64_t until_ms) override;
  Result<void> forget_revoked_before(int64_t now_ms) override;

  Result<Usage> usage_of(const std::string& tenant) override;
  Result<Usage> usage_of_budget(const std::string& budget) override;

  Result<int64_t> add_traffic(const std::string& tenant, const std::string& period,
                              int64_t bytes) override;
  Result<int64_t> traffic_of(const std::string& tenant, const std::string& period) override;
  Result<void> forget_traffic(const std::string& before_period) override;

 private:
  Result<bool> any(std::string_view query, const std::string& value);
  Result<Usage> usage(std::string_view where, const std::string& value);

  Database& database_;
};

}  // namespace hako::store
