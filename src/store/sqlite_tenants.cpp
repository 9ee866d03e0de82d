#include "store/sqlite_tenants.h"

#include "store/sqlite_rows.h"

namespace hako::store {
namespace {

constexpr std::string_view kTenantColumns = "name, policy, quota, suspended, created_ms";
constexpr std::string_view kKeyColumns =
    "id, hash, old_hash, old_until_ms, tenant, role, user, label, narrowing, clearance,"
    " created_ms, expires_ms";

TenantRecord read_tenant(const Statement& row) {
  return {.name = row.text(0),
          .policy = row.text(1),
          .quota = row.text(2),
          .suspended = row.integer(3) != 0,
          .created_ms = row.integer(4)};
}

ApiKey read_key(const Statement& row) {
  return {.id = row.text(0),
          .hash = row.text(1),
          .old_hash = row.text(2),
          .old_until_ms = row.integer(3),
          .tenant = row.text(4),
          .role = row.text(5),
          .user = row.text(6),
          .label = row.text(7),
          .narrowing = row.text(8),
          .clearance = row.text(9),
          .created_ms = row.integer(10),
          .expires_ms = row.integer(11)};
}

Error no_tenant(const std::string& name) {
  return Error(ErrorCode::not_found, "tenant " + name + " not found");
}

}  // namespace

Result<std::vector<TenantRecord>> SqliteTenants::all_tenants() {
  HAKO_TRY(auto statement, database_.prepare(select(kTenantColumns, "tenants", "ORDER BY name")));
  return read_rows(statement, read_tenant);
}

Result<std::optional<TenantRecord>> SqliteTenants::find_tenant(const std::string& name) {
  HAKO_TRY(auto statement,
           database_.prepare(select(kTenantColumns, "tenants", "WHERE name = ?")));
  statement.bind(1, name);
  return read_row(statement, read_tenant);
}

Result<void> SqliteTenants::add_tenant(const TenantRecord& record) {
  HAKO_TRY(auto statement, database_.prepare("INSERT INTO tenants (" + std::string(kTenantColumns) +
                                             ") VALUES (" + places(5) + ")"));
  statement.bind(1, record.name)
      .bind(2, record.policy)
      .bind(3, record.quota)
      .bind(4, int64_t(record.suspended))
      .bind(5, record.created_ms);
  return statement.run();
}

Result<void> SqliteTenants::put_tenant(const TenantRecord& record) {
  HAKO_TRY(auto statement, database_.prepare("UPDATE tenants SET policy = ?, quota = ?,"
                                             " suspended = ? WHERE name = ?"));
  statement.bind(1, record.policy)
      .bind(2, record.quota)
      .bind(3, int64_t(record.suspended))
      .bind(4, record.name);
  HAKO_TRYV(statement.run());
  return changed_one(database_, "tenant", record.name);
}

Result<void> SqliteTenants::remove_tenant(const std::string& name) {
  if (name == kDefaultTenant) {
    return Error(ErrorCode::failed_precondition, "tenant " + name + " is always there");
  }
  HAKO_TRY(auto transaction, Transaction::begin(database_));
  HAKO_TRY(bool sandboxes, any("SELECT 1 FROM sandboxes WHERE tenant = ?", name));
  HAKO_TRY(bool templates, any("SELECT 1 FROM templates WHERE tenant = ?", name));
  HAKO_TRY(bool snapshots, any("SELECT 1 FROM snapshots WHERE tenant = ?", name));
  if (sandboxes || templates || snapshots) {
    const char* what = sandboxes ? "sandboxes" : templates ? "templates" : "snapshots";
    return Error(ErrorCode::failed_precondition, "tenant " + name + " still has " + what);
  }
  {
    // Its keys, their revoked tokens, its secrets and its traffic go with it.
    HAKO_TRY(auto statement, database_.prepare("DELETE FROM tenants WHERE name = ?"));
    HAKO_TRYV(statement.bind(1, name).run());
    HAKO_TRYV(changed_one(database_, "tenant", name));
  }
  return transaction.commit();
}

Result<void> SqliteTenants::put_key(const ApiKey& key) {
  HAKO_TRY(auto statement,
           database_.prepare(
               "INSERT INTO api_keys (" + std::string(kKeyColumns) + ") SELECT " + places(12) +
               " WHERE EXISTS (SELECT 1 FROM tenants WHERE name = ?)"
               " ON CONFLICT (id) DO UPDATE SET hash = excluded.hash, old_hash = excluded.old_hash,"
               " old_until_ms = excluded.old_until_ms, tenant = excluded.tenant,"
               " role = excluded.role, user = excluded.user, label = excluded.label,"
               " narrowing = excluded.narrowing, clearance = excluded.clearance,"
               " created_ms = excluded.created_ms, expires_ms = excluded.expires_ms"));
  statement.bind(1, key.id)
      .bind(2, key.hash)
      .bind(3, key.old_hash)
      .bind(4, key.old_until_ms)
      .bind(5, key.tenant)
      .bind(6, key.role)
      .bind(7, key.user)
      .bind(8, key.label)
      .bind(9, key.narrowing)
      .bind(10, key.clearance)
      .bind(11, key.created_ms)
      .bind(12, key.expires_ms)
      .bind(13, key.tenant);
  HAKO_TRYV(statement.run());
  if (database_.changes() != 1) return no_tenant(key.tenant);
  return ok();
}

Result<std::optional<ApiKey>> SqliteTenants::find_key(const std::string& hash, int64_t now_ms) {
  HAKO_TRY(auto statement,
           database_.prepare(select(kKeyColumns, "api_keys",
                                    "WHERE hash = ?1 OR (old_hash = ?1 AND old_hash <> ''"
                                    " AND old_until_ms > ?2) ORDER BY hash = ?1 DESC")));
  statement.bind(1, hash).bind(2, now_ms);
  return read_row(statement, read_key);
}

Result<std::optional<ApiKey>> SqliteTenants::find_key_by_id(const std::string& id) {
  HAKO_TRY(auto statement, database_.prepare(select(kKeyColumns, "api_keys", "WHERE id = ?")));
  statement.bind(1, id);
  return read_row(statement, read_key);
}

Result<std::vector<ApiKey>> SqliteTenants::keys_of(const std::string& tenant) {
  HAKO_TRY(auto statement,
           database_.prepare(
               select(kKeyColumns, "api_keys", "WHERE tenant = ? ORDER BY created_ms, id")));
  statement.bind(1, tenant);
  return read_rows(statement, read_key);
}

Result<void> SqliteTenants::remove_key(const std::string& id) {
  HAKO_TRY(auto statement, database_.prepare("DELETE FROM api_keys WHERE id = ?"));
  HAKO_TRYV(statement.bind(1, id).run());
  return changed_one(database_, "key", id);
}

Result<void> SqliteTenants::revoke_token(const std::string& identifier, const std::string& key_id,
                                         int64_t until_ms) {
  HAKO_TRY(auto statement,
           database_.prepare("INSERT INTO revoked_tokens (identifier, key_id, until_ms)"
                             " SELECT ?, ?, ? WHERE EXISTS (SELECT 1 FROM api_keys WHERE id = ?)"
                             " ON CONFLICT (identifier) DO UPDATE SET"
                             " until_ms = max(until_ms, excluded.until_ms)"));
  statement.bind(1, identifier).bind(2, key_id).bind(3, until_ms).bind(4, key_id);
  HAKO_TRYV(statement.run());
  return changed_one(database_, "key", key_id);
}

Result<bool> SqliteTenants::is_token_revoked(const std::string& identifier) {
  return any("SELECT 1 FROM revoked_tokens WHERE identifier = ?", identifier);
}

Result<int64_t> SqliteTenants::count_revoked(const std::string& key_id) {
  HAKO_TRY(auto statement,
           database_.prepare("SELECT count(*) FROM revoked_tokens WHERE key_id = ?"));
  HAKO_TRY(bool row, statement.bind(1, key_id).step());
  return row ? statement.integer(0) : 0;
}

Result<void> SqliteTenants::expire_revoked(const std::string& key_id, int64_t until_ms) {
  HAKO_TRY(auto statement,
           database_.prepare("UPDATE revoked_tokens SET until_ms = min(until_ms, ?)"
                             " WHERE key_id = ?"));
  return statement.bind(1, until_ms).bind(2, key_id).run();
}

Result<void> SqliteTenants::forget_revoked_before(int64_t now_ms) {
  HAKO_TRY(auto statement, database_.prepare("DELETE FROM revoked_tokens WHERE until_ms < ?"));
  return statement.bind(1, now_ms).run();
}

Result<Usage> SqliteTenants::usage_of(const std::string& tenant) {
  HAKO_TRY(auto used, usage("tenant = ?", tenant));
  HAKO_TRY(auto statement, database_.prepare("SELECT coalesce(sum(disk_mib), 0) FROM snapshots"
                                             " WHERE tenant = ?"));
  HAKO_TRY(bool row, statement.bind(1, tenant).step());
  if (row) used.disk_mib += statement.integer(0);
  return used;
}

Result<Usage> SqliteTenants::usage_of_budget(const std::string& budget) {
  return usage(
      "EXISTS (SELECT 1 FROM json_each(nullif(budgets, '')) AS one WHERE one.value = ?)", budget);
}

Result<int64_t> SqliteTenants::add_traffic(const std::string& tenant, const std::string& period,
                                           int64_t bytes) {
  HAKO_TRY(auto statement,
           database_.prepare("INSERT INTO traffic (tenant, period, bytes) SELECT ?, ?, ?"
                             " WHERE EXISTS (SELECT 1 FROM tenants WHERE name = ?)"
                             " ON CONFLICT (tenant, period) DO UPDATE SET"
                             " bytes = bytes + excluded.bytes RETURNING bytes"));
  statement.bind(1, tenant).bind(2, period).bind(3, bytes).bind(4, tenant);
  HAKO_TRY(bool row, statement.step());
  if (!row) return no_tenant(tenant);
  int64_t total = statement.integer(0);
  // It is written when the statement has come to its end.
  HAKO_TRYV(statement.run());
  return total;
}

Result<int64_t> SqliteTenants::traffic_of(const std::string& tenant, const std::string& period) {
  HAKO_TRY(auto statement,
           database_.prepare("SELECT bytes FROM traffic WHERE tenant = ? AND period = ?"));
  HAKO_TRY(bool row, statement.bind(1, tenant).bind(2, period).step());
  return row ? statement.integer(0) : 0;
}

Result<void> SqliteTenants::forget_traffic(const std::string& before_period) {
  HAKO_TRY(auto statement, database_.prepare("DELETE FROM traffic WHERE period < ?"));
  return statement.bind(1, before_period).run();
}

Result<bool> SqliteTenants::any(std::string_view query, const std::string& value) {
  HAKO_TRY(auto statement, database_.prepare(query));
  return statement.bind(1, value).step();
}

Result<Usage> SqliteTenants::usage(std::string_view where, const std::string& value) {
  std::string query =
      "SELECT coalesce(sum(state <> 'paused'), 0),"
      " coalesce(sum(iif(state = 'paused', 0, vcpus)), 0),"
      " coalesce(sum(iif(state = 'paused', 0, memory_mib)), 0), coalesce(sum(disk_mib), 0),"
      " coalesce(sum(state = 'paused'), 0) FROM sandboxes WHERE " + std::string(where);
  HAKO_TRY(auto statement, database_.prepare(query));
  HAKO_TRY(bool row, statement.bind(1, value).step());
  Usage usage;
  if (!row) return usage;
  usage.boxes = statement.integer(0);
  usage.vcpus = statement.integer(1);
  usage.memory_mib = statement.integer(2);
  usage.disk_mib = statement.integer(3);
  usage.paused = statement.integer(4);
  return usage;
}

}  // namespace hako::store
