#include <algorithm>

#include "store/migrations.h"
#include "store/sqlite.h"
#include "store/sqlite_links.h"
#include "store/sqlite_templates.h"
#include "store/store.h"

namespace hako::store {
namespace {

constexpr std::string_view kColumns =
    "id, template, alias, state, started_ms, ends_ms, metadata, access_token, vcpus, memory_mib, "
    "disk_mib, isolation, key_id, options, traffic_token, label, egress";

SandboxRecord read_record(const Statement& row) {
  SandboxRecord record;
  record.id = row.text(0);
  record.template_name = row.text(1);
  record.alias = row.text(2);
  record.state = row.text(3) == "running" ? SandboxState::running : SandboxState::starting;
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
  return record;
}

Result<std::vector<SandboxRecord>> read_all(Statement& statement) {
  std::vector<SandboxRecord> records;
  for (;;) {
    HAKO_TRY(bool row, statement.step());
    if (!row) return records;
    records.push_back(read_record(statement));
  }
}

/// The WHERE clause of a query and the values for its parameters, in order.
struct Filter {
  std::string where = " WHERE state = 'running'";
  std::vector<std::variant<int64_t, std::string>> values;

  void add(const std::string& condition,
           std::initializer_list<std::variant<int64_t, std::string>> with) {
    where += " AND " + condition;
    values.insert(values.end(), with);
  }
  int bind_to(Statement& statement) const {
    int index = 0;
    for (const auto& value : values) {
      std::visit([&](const auto& v) { statement.bind(++index, v); }, value);
    }
    return index;
  }
};

Filter filter_of(const SandboxQuery& query) {
  Filter filter;
  filter.add("ends_ms > ?", {query.alive_at_ms});
  if (query.started_from_ms) filter.add("started_ms >= ?", {*query.started_from_ms});
  if (query.template_name) {
    filter.add("(template = ? OR alias = ?)", {*query.template_name, *query.template_name});
  }
  for (const auto& [key, value] : query.metadata) {
    // An empty text is no JSON; json_each takes NULL for "nothing there".
    filter.add(
        "EXISTS (SELECT 1 FROM json_each(nullif(metadata, '')) AS pair"
        " WHERE pair.key = ? AND pair.value = ?)",
        {key, value});
  }
  if (query.labels) {
    std::string places;
    for (const std::string& label : *query.labels) {
      places += places.empty() ? "?" : ", ?";
      filter.values.emplace_back(label);
    }
    filter.where += " AND label IN (" + places + ")";
  }
  return filter;
}

class SqliteStore : public Store {
 public:
  explicit SqliteStore(Database database)
      : database_(std::move(database)), templates_(database_), links_(database_) {}

  Result<void> put_key(const ApiKey& key) override {
    HAKO_TRY(auto statement,
             database_.prepare("INSERT INTO api_keys (id, hash, label, created_ms, clearance)"
                               " VALUES (?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET"
                               " hash = excluded.hash, label = excluded.label,"
                               " created_ms = excluded.created_ms,"
                               " clearance = excluded.clearance"));
    statement.bind(1, key.id)
        .bind(2, key.hash)
        .bind(3, key.label)
        .bind(4, key.created_ms)
        .bind(5, key.clearance);
    return statement.run();
  }

  Result<std::optional<ApiKey>> find_key(const std::string& hash) override {
    HAKO_TRY(auto statement,
             database_.prepare("SELECT id, hash, label, created_ms, clearance FROM api_keys"
                               " WHERE hash = ?"));
    HAKO_TRY(bool row, statement.bind(1, hash).step());
    if (!row) return std::optional<ApiKey>();
    ApiKey key{statement.text(0), statement.text(1), statement.text(2), statement.integer(3),
               statement.text(4)};
    return std::optional<ApiKey>(std::move(key));
  }

  Result<void> remove_key(const std::string& id) override {
    HAKO_TRY(auto statement, database_.prepare("DELETE FROM api_keys WHERE id = ?"));
    HAKO_TRYV(statement.bind(1, id).run());
    return changed_one("key", id);
  }

  Result<bool> any_key_cleared_for(const std::vector<std::string>& clearances) override {
    HAKO_TRY(auto statement, database_.prepare("SELECT 1 FROM api_keys WHERE clearance = ?"));
    for (const std::string& clearance : clearances) {
      HAKO_TRY(bool row, statement.bind(1, clearance).step());
      if (row) return true;
      statement.reset();
    }
    return false;
  }

  Result<void> add_sandbox(const SandboxRecord& record) override {
    HAKO_TRY(auto statement,
             database_.prepare("INSERT INTO sandboxes (" + std::string(kColumns) +
                               ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"));
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
        .bind(17, record.egress);
    return statement.run();
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
    return changed_one("sandbox", id);
  }

  Result<void> set_end(const std::string& id, int64_t ends_ms) override {
    HAKO_TRY(auto statement, database_.prepare("UPDATE sandboxes SET ends_ms = ? WHERE id = ?"));
    HAKO_TRYV(statement.bind(1, ends_ms).bind(2, id).run());
    return changed_one("sandbox", id);
  }

  Result<void> set_egress(const std::string& id, const SandboxEgress& egress) override {
    HAKO_TRY(auto statement, database_.prepare("UPDATE sandboxes SET label = ?, options = ?,"
                                               " egress = ?, traffic_token = ? WHERE id = ?"));
    statement.bind(1, egress.label)
        .bind(2, egress.options)
        .bind(3, egress.egress)
        .bind(4, egress.traffic_token)
        .bind(5, id);
    HAKO_TRYV(statement.run());
    return changed_one("sandbox", id);
  }

  Result<bool> remove_sandbox(const std::string& id) override {
    HAKO_TRY(auto statement, database_.prepare("DELETE FROM sandboxes WHERE id = ?"));
    HAKO_TRYV(statement.bind(1, id).run());
    return database_.changes() == 1;
  }

  Result<std::optional<SandboxRecord>> find_sandbox(const std::string& id) override {
    HAKO_TRY(auto statement,
             database_.prepare("SELECT " + std::string(kColumns) + " FROM sandboxes WHERE id = ?"));
    HAKO_TRY(bool row, statement.bind(1, id).step());
    if (!row) return std::optional<SandboxRecord>();
    return std::optional<SandboxRecord>(read_record(statement));
  }

  Result<std::vector<SandboxRecord>> all_sandboxes() override {
    HAKO_TRY(auto statement, database_.prepare("SELECT " + std::string(kColumns) +
                                               " FROM sandboxes ORDER BY started_ms, id"));
    return read_all(statement);
  }

  Result<std::vector<SandboxRecord>> list_sandboxes(const SandboxQuery& query) override {
    bool oldest_first = query.order == Order::oldest_first;
    Filter filter = filter_of(query);
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
    return read_all(statement);
  }

  Result<int64_t> count_sandboxes(const SandboxQuery& query) override {
    Filter filter = filter_of(query);
    HAKO_TRY(auto statement, database_.prepare("SELECT count(*) FROM sandboxes" + filter.where));
    filter.bind_to(statement);
    HAKO_TRY(bool row, statement.step());
    return row ? statement.integer(0) : 0;
  }

  TemplateStore& templates() override { return templates_; }
  LinkStore& links() override { return links_; }

 private:
  Result<void> changed_one(std::string_view kind, const std::string& id) const {
    if (database_.changes() == 1) return ok();
    return Error(ErrorCode::not_found, std::string(kind) + " " + id + " not found");
  }

  Database database_;
  SqliteTemplates templates_;
  SqliteLinks links_;
};

}  // namespace

std::string_view to_string(SandboxState state) {
  return state == SandboxState::running ? "running" : "starting";
}

Result<std::unique_ptr<Store>> open_sqlite_store(const std::string& path) {
  HAKO_TRY(auto database, Database::open(path));
  auto migrated = migrate(database);
  if (!migrated) return migrated.error().with_context(path);
  std::unique_ptr<Store> store = std::make_unique<SqliteStore>(std::move(database));
  return store;
}

}  // namespace hako::store
