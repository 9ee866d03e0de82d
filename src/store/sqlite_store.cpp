#include <boost/json.hpp>

#include "store/migrations.h"
#include "store/sqlite.h"
#include "store/sqlite_links.h"
#include "store/sqlite_models.h"
#include "store/sandbox_filter.h"
#include "store/sqlite_rows.h"
#include "store/sqlite_secrets.h"
#include "store/sqlite_snapshots.h"
#include "store/sqlite_templates.h"
#include "store/sqlite_tenants.h"
#include "store/store.h"

namespace hako::store {
namespace {

constexpr std::string_view kColumns =
    "id, template, alias, state, started_ms, ends_ms, metadata, access_token, vcpus, memory_mib, "
    "disk_mib, isolation, key_id, options, traffic_token, label, egress, tenant, agent, budgets, "
    "grants, pauses, with_memory";

constexpr SandboxState kSandboxStates[] = {SandboxState::starting, SandboxState::running,
                                    SandboxState::pausing, SandboxState::paused,
                                    SandboxState::resuming};

/// One that nobody knows is no state in which anything may be done with it.
SandboxState read_state(const std::string& text) {
  for (SandboxState each : kSandboxStates) {
    if (to_string(each) == text) return each;
  }
  return SandboxState::starting;
}

/// As JSON, whose functions SQLite has; empty for none.
std::string write_budgets(const std::vector<std::string>& budgets) {
  if (budgets.empty()) return {};
  boost::json::array list(budgets.begin(), budgets.end());
  return boost::json::serialize(list);
}

std::vector<std::string> read_budgets(const std::string& text) {
  std::vector<std::string> budgets;
  boost::system::error_code error;
  boost::json::value list = boost::json::parse(text, error);
  if (error || !list.is_array()) return budgets;
  for (const boost::json::value& each : list.get_array()) {
    if (each.is_string()) budgets.emplace_back(each.get_string());
  }
  return budgets;
}

SandboxRecord read_record(const Statement& row) {
  SandboxRecord record;
  record.id = row.text(0);
  record.template_name = row.text(1);
  record.alias = row.text(2);
  record.state = read_state(row.text(3));
  record.started_ms = row.integer(4);
  record.ends_ms = row.integer(5);
  record.metadata = row.text(6);
  record.access_token = row.text(7);
  record.vcpus = int(row.integer(8));
  record.memory_mib = int(row.integer(9));
  record.disk_mib = int(row.integer(10));
  record.isolation = row.text(11);
  record.key_id = row.text(12);
  record.options = row.text(13);
  record.traffic_token = row.text(14);
  record.label = row.text(15);
  record.egress = row.text(16);
  record.tenant = row.text(17);
  record.agent = row.text(18);
  record.budgets = read_budgets(row.text(19));
  record.grants = row.text(20);
  record.pauses = int(row.integer(21));
  record.with_memory = row.integer(22) != 0;
  return record;
}

class SqliteStore : public Store {
 public:
  explicit SqliteStore(Database database)
      : database_(std::move(database)), tenants_(database_), templates_(database_), links_(database_),
        snapshots_(database_), secrets_(database_), models_(database_, *this) {}

  Result<void> add_sandbox(const SandboxRecord& record) override {
    // Nothing is inserted where the tenant is missing: the reason can then be told from others.
    HAKO_TRY(auto statement, database_.prepare("INSERT INTO sandboxes (" + std::string(kColumns) +
                                               ") SELECT " + places(23) +
                                               " WHERE EXISTS (SELECT 1 FROM tenants"
                                               " WHERE name = ?)"));
    statement.bind(1, record.id)
        .bind(2, record.template_name)
        .bind(3, record.alias)
        .bind(4, to_string(record.state))
        .bind(5, record.started_ms)
        .bind(6, record.ends_ms)
        .bind(7, record.metadata)
        .bind(8, record.access_token)
        .bind(9, int64_t(record.vcpus))
        .bind(10, int64_t(record.memory_mib))
        .bind(11, int64_t(record.disk_mib))
        .bind(12, record.isolation)
        .bind(13, record.key_id)
        .bind(14, record.options)
        .bind(15, record.traffic_token)
        .bind(16, record.label)
        .bind(17, record.egress)
        .bind(18, record.tenant)
        .bind(19, record.agent)
        .bind(20, write_budgets(record.budgets))
        .bind(21, record.grants)
        .bind(22, int64_t(record.pauses))
        .bind(23, int64_t(record.with_memory))
        .bind(24, record.tenant);
    HAKO_TRYV(statement.run());
    return changed_one(database_, "tenant", record.tenant);
  }

  Result<void> add_sandbox_if(const SandboxRecord& record, const Admission& admit) override {
    HAKO_TRY(auto transaction, Transaction::begin(database_));
    InUse in_use;
    HAKO_TRY(in_use.tenant, tenants_.usage_of(record.tenant));
    for (const std::string& budget : record.budgets) {
      HAKO_TRY(auto used, tenants_.usage_of_budget(budget));
      in_use.budgets.push_back(used);
    }
    HAKO_TRYV(admit(in_use));
    HAKO_TRYV(add_sandbox(record));
    return transaction.commit();
  }

  Result<void> set_running(const std::string& id, const Started& started) override {
    HAKO_TRY(auto statement,
             database_.prepare("UPDATE sandboxes SET state = 'running', started_ms = ?, vcpus = ?,"
                               " memory_mib = ?, disk_mib = ?, isolation = ? WHERE id = ?"));
    statement.bind(1, started.started_ms)
        .bind(2, int64_t(started.vcpus))
        .bind(3, int64_t(started.memory_mib))
        .bind(4, int64_t(started.disk_mib))
        .bind(5, started.isolation)
        .bind(6, id);
    HAKO_TRYV(statement.run());
    return changed_one(database_, "sandbox", id);
  }

  Result<void> move_state(const std::string& id, SandboxState from, SandboxState to) override {
    HAKO_TRY(auto statement,
             database_.prepare("UPDATE sandboxes SET state = ? WHERE id = ? AND state = ?"));
    statement.bind(1, to_string(to)).bind(2, id).bind(3, to_string(from));
    HAKO_TRYV(statement.run());
    return changed_from_its_state(id);
  }

  Result<void> set_paused(const std::string& id, const Paused& paused) override {
    HAKO_TRY(auto statement,
             database_.prepare("UPDATE sandboxes SET state = 'paused', pauses = ?, with_memory = ?,"
                               " ends_ms = ? WHERE id = ? AND state IN ('running', 'pausing')"));
    statement.bind(1, int64_t(paused.pauses))
        .bind(2, int64_t(paused.with_memory))
        .bind(3, paused.ends_ms)
        .bind(4, id);
    HAKO_TRYV(statement.run());
    return changed_from_its_state(id);
  }

  Result<void> set_resumed(const std::string& id, const Started& started,
                           int64_t ends_ms) override {
    HAKO_TRY(auto statement,
             database_.prepare("UPDATE sandboxes SET state = 'running', vcpus = ?, memory_mib = ?,"
                               " disk_mib = ?, isolation = ?, ends_ms = ?"
                               " WHERE id = ? AND state = 'resuming'"));
    statement.bind(1, int64_t(started.vcpus))
        .bind(2, int64_t(started.memory_mib))
        .bind(3, int64_t(started.disk_mib))
        .bind(4, started.isolation)
        .bind(5, ends_ms)
        .bind(6, id);
    HAKO_TRYV(statement.run());
    return changed_from_its_state(id);
  }

  Result<void> set_end(const std::string& id, int64_t ends_ms) override {
    HAKO_TRY(auto statement, database_.prepare("UPDATE sandboxes SET ends_ms = ? WHERE id = ?"));
    HAKO_TRYV(statement.bind(1, ends_ms).bind(2, id).run());
    return changed_one(database_, "sandbox", id);
  }

  Result<void> set_egress(const std::string& id, const SandboxEgress& egress) override {
    HAKO_TRY(auto statement, database_.prepare("UPDATE sandboxes SET label = ?, options = ?,"
                                               " egress = ?, traffic_token = ?, grants = ?"
                                               " WHERE id = ?"));
    statement.bind(1, egress.label)
        .bind(2, egress.options)
        .bind(3, egress.egress)
        .bind(4, egress.traffic_token)
        .bind(5, egress.grants)
        .bind(6, id);
    HAKO_TRYV(statement.run());
    return changed_one(database_, "sandbox", id);
  }

  Result<bool> remove_sandbox(const std::string& id) override {
    HAKO_TRY(auto statement, database_.prepare("DELETE FROM sandboxes WHERE id = ?"));
    HAKO_TRYV(statement.bind(1, id).run());
    return database_.changes() == 1;
  }

  Result<std::optional<SandboxRecord>> find_sandbox(const std::string& id) override {
    HAKO_TRY(auto statement, database_.prepare(select(kColumns, "sandboxes", "WHERE id = ?")));
    statement.bind(1, id);
    return read_row(statement, read_record);
  }

  Result<std::vector<SandboxRecord>> all_sandboxes() override {
    HAKO_TRY(auto statement,
             database_.prepare(select(kColumns, "sandboxes", "ORDER BY started_ms, id")));
    return read_rows(statement, read_record);
  }

  Result<std::vector<SandboxRecord>> list_sandboxes(const SandboxQuery& query) override {
    bool oldest_first = query.order == Order::oldest_first;
    SandboxFilter filter = filter_of(query);
    if (query.behind) {
      filter.add(std::string("(started_ms, id) ") + (oldest_first ? ">" : "<") + " (?, ?)",
                 {query.behind->started_ms, query.behind->id});
    }
    std::string direction = oldest_first ? "ASC" : "DESC";
    HAKO_TRY(
        auto statement,
        database_.prepare("SELECT " + std::string(kColumns) + " FROM sandboxes" + filter.where +
                          " ORDER BY started_ms " + direction + ", id " + direction + " LIMIT ?"));
    int bound = filter.bind_to(statement);
    statement.bind(bound + 1, int64_t(query.limit));
    return read_rows(statement, read_record);
  }

  Result<int64_t> count_sandboxes(const SandboxQuery& query) override {
    SandboxFilter filter = filter_of(query);
    HAKO_TRY(auto statement, database_.prepare("SELECT count(*) FROM sandboxes" + filter.where));
    filter.bind_to(statement);
    HAKO_TRY(bool row, statement.step());
    return row ? statement.integer(0) : 0;
  }

  TenantStore& tenants() override { return tenants_; }
  TemplateStore& templates() override { return templates_; }
  LinkStore& links() override { return links_; }
  SnapshotStore& snapshots() override { return snapshots_; }
  SecretStore& secrets() override { return secrets_; }
  ModelStore& models() override { return models_; }

 private:
  /// After a change of one that had to be in a certain state.
  Result<void> changed_from_its_state(const std::string& id) {
    if (database_.changes() == 1) return ok();
    HAKO_TRY(auto record, find_sandbox(id));
    if (!record) return Error(ErrorCode::not_found, "sandbox " + id + " not found");
    return Error(ErrorCode::failed_precondition,
                 "sandbox " + id + " is " + std::string(to_string(record->state)));
  }

  Database database_;
  SqliteTenants tenants_;
  SqliteTemplates templates_;
  SqliteLinks links_;
  SqliteSnapshots snapshots_;
  SqliteSecrets secrets_;
  SqliteModels models_;
};

}  // namespace

std::string_view to_string(SandboxState state) {
  switch (state) {
    case SandboxState::starting:
      return "starting";
    case SandboxState::running:
      return "running";
    case SandboxState::pausing:
      return "pausing";
    case SandboxState::paused:
      return "paused";
    case SandboxState::resuming:
      return "resuming";
  }
  return "unknown";
}

Result<std::unique_ptr<Store>> open_sqlite_store(const std::string& path) {
  HAKO_TRY(auto database, Database::open(path));
  auto migrated = migrate(database);
  if (!migrated) return migrated.error().with_context(path);
  std::unique_ptr<Store> store = std::make_unique<SqliteStore>(std::move(database));
  return store;
}

}  // namespace hako::store
