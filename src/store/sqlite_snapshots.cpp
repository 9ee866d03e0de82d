#include "store/sqlite_snapshots.h"

#include "store/sqlite_rows.h"

namespace hako::store {
namespace {

constexpr std::string_view kSnapshotColumns =
    "id, state, name, sandbox, template, alias, tenant, agent, key_id, label, options, vcpus,"
    " memory_mib, disk_mib, bytes, created_ms";

SnapshotRecord read_snapshot(const Statement& row) {
  return {.id = row.text(0),
          .state = row.text(1) == "ready" ? SnapshotState::ready : SnapshotState::making,
          .name = row.text(2),
          .sandbox = row.text(3),
          .template_name = row.text(4),
          .alias = row.text(5),
          .tenant = row.text(6),
          .agent = row.text(7),
          .key_id = row.text(8),
          .label = row.text(9),
          .options = row.text(10),
          .vcpus = int(row.integer(11)),
          .memory_mib = int(row.integer(12)),
          .disk_mib = int(row.integer(13)),
          .bytes = row.integer(14),
          .created_ms = row.integer(15)};
}

}  // namespace

std::string_view to_string(SnapshotState state) {
  return state == SnapshotState::ready ? "ready" : "making";
}

Result<void> SqliteSnapshots::add_snapshot(const SnapshotRecord& record) {
  HAKO_TRY(auto statement,
           database_.prepare("INSERT INTO snapshots (" + std::string(kSnapshotColumns) +
                             ") SELECT " + places(16) +
                             " WHERE EXISTS (SELECT 1 FROM tenants WHERE name = ?)"));
  statement.bind(1, record.id)
      .bind(2, to_string(record.state))
      .bind(3, record.name)
      .bind(4, record.sandbox)
      .bind(5, record.template_name)
      .bind(6, record.alias)
      .bind(7, record.tenant)
      .bind(8, record.agent)
      .bind(9, record.key_id)
      .bind(10, record.label)
      .bind(11, record.options)
      .bind(12, int64_t(record.vcpus))
      .bind(13, int64_t(record.memory_mib))
      .bind(14, int64_t(record.disk_mib))
      .bind(15, record.bytes)
      .bind(16, record.created_ms)
      .bind(17, record.tenant);
  HAKO_TRYV(statement.run());
  return changed_one(database_, "tenant", record.tenant);
}

Result<void> SqliteSnapshots::set_snapshot_ready(const std::string& id, const SnapshotMade& made) {
  HAKO_TRY(auto transaction, Transaction::begin(database_));
  {
    HAKO_TRY(auto statement,
             database_.prepare("UPDATE snapshots SET name = '' WHERE name = ? AND name <> '' AND"
                               " tenant = (SELECT tenant FROM snapshots WHERE id = ?)"));
    HAKO_TRYV(statement.bind(1, made.name).bind(2, id).run());
  }
  {
    HAKO_TRY(auto statement,
             database_.prepare("UPDATE snapshots SET state = 'ready', name = ?, label = ?,"
                               " bytes = ? WHERE id = ?"));
    statement.bind(1, made.name).bind(2, made.label).bind(3, made.bytes).bind(4, id);
    HAKO_TRYV(statement.run());
    HAKO_TRYV(changed_one(database_, "snapshot", id));
  }
  return transaction.commit();
}

Result<std::optional<SnapshotRecord>> SqliteSnapshots::find_snapshot(const std::string& id) {
  HAKO_TRY(auto statement,
           database_.prepare(select(kSnapshotColumns, "snapshots", "WHERE id = ?")));
  statement.bind(1, id);
  return read_row(statement, read_snapshot);
}

Result<std::optional<SnapshotRecord>> SqliteSnapshots::find_snapshot_named(
    const std::string& tenant, const std::string& name) {
  HAKO_TRY(auto statement,
           database_.prepare(select(kSnapshotColumns, "snapshots",
                                    "WHERE tenant = ? AND name = ? AND name <> ''")));
  statement.bind(1, tenant).bind(2, name);
  return read_row(statement, read_snapshot);
}

Result<std::vector<SnapshotRecord>> SqliteSnapshots::all_snapshots(const std::string& tenant) {
  HAKO_TRY(auto statement,
           database_.prepare(select(kSnapshotColumns, "snapshots",
                                    "WHERE tenant = ?1 OR ?1 = ''"
                                    " ORDER BY created_ms DESC, id DESC")));
  statement.bind(1, tenant);
  return read_rows(statement, read_snapshot);
}

Result<bool> SqliteSnapshots::remove_snapshot(const std::string& id) {
  HAKO_TRY(auto statement, database_.prepare("DELETE FROM snapshots WHERE id = ?"));
  HAKO_TRYV(statement.bind(1, id).run());
  return database_.changes() == 1;
}

}  // namespace hako::store
