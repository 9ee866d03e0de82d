// Inside src/store only: the tables of calls of models.
#pragma once

#include "store/models.h"
#include "store/sqlite.h"
#include "store/store.h"

namespace hako::store {

class SqliteModels : public ModelStore {
 public:
  /// `database` and `store` must outlive this. `store` reads boxes, keys and tenants.
  SqliteModels(Database& database, Store& store) : database_(database), store_(store) {}

  Result<void> reserve(const std::string& box, const Decide& decide) override;
  Result<bool> settle(const std::string& id, int64_t now_ms, const Settle& settle) override;
  Result<int64_t> settle_older(int64_t before_ms, int64_t now_ms, int64_t most,
                               const Settle& settle) override;
  Result<void> forget(int64_t settled_before_ms, const std::string& before_day) override;
  Result<ModelCount> count_of(const ModelBudget& budget) override;
  Result<int64_t> count_open() override;
  Result<std::vector<ModelUsageRow>> usage(const ModelUsageQuery& query) override;
  Result<void> put_stop(const ModelStop& stop) override;
  Result<bool> remove_stop(const std::string& tenant) override;
  Result<std::vector<ModelStop>> all_stops() override;

 private:
  Result<void> reserve_now(const std::string& box, const Decide& decide);
  Result<void> insert(const ModelReservation& reservation);
  Result<void> settle_one(const ModelReservation& reservation, int64_t now_ms,
                          const Settle& settle);
  Result<void> add_usage(const ModelReservation& reservation, const ModelSettlement& settlement,
                         int64_t now_ms);
  /// Adds to what counts against a budget; what is negative takes away.
  Result<void> add(const ModelBudget& budget, const ModelCount& more);

  Database& database_;
  Store& store_;
};

}  // namespace hako::store
