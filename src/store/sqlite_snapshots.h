// Inside src/store only: the table of snapshots.
#pragma once

#include "store/snapshots.h"
#include "store/sqlite.h"

namespace hako::store {

class SqliteSnapshots : public SnapshotStore {
 public:
  /// `database` must outlive this.
  explicit SqliteSnapshots(Database& database) : database_(database) {}

  Result<void> add_snapshot(const SnapshotRecord& record) override;
  Result<void> set_snapshot_ready(const std::string& id, const SnapshotMade& made) override;
  Result<std::optional<SnapshotRecord>> find_snapshot(const std::string& id) override;
  Result<std::optional<SnapshotRecord>> find_snapshot_named(const std::string& tenant,
                                                            const std::string& name) override;
  Result<std::vector<SnapshotRecord>> all_snapshots(const std::string& tenant) override;
  Result<bool> remove_snapshot(const std::string& id) override;

 private:
  Database& database_;
};

}  // namespace hako::store
