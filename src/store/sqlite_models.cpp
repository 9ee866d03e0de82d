#include "store/sqlite_models.h"

#include <boost/json.hpp>

#include <ctime>

#include "store/sqlite_rows.h"

namespace hako::store {
namespace {

namespace json = boost::json;

constexpr std::string_view kReservationColumns =
    "id, box, tenant, agent, key_id, host, model, budgets, input_tokens, output_tokens, microusd,"
    " prices, created_ms";
constexpr std::string_view kCountColumns =
    "told_requests, told_tokens, told_microusd, unconfirmed_requests, unconfirmed_tokens,"
    " unconfirmed_microusd, open_requests, open_tokens, open_microusd";

std::string write_model_budgets(const std::vector<ModelBudget>& budgets) {
  json::array list;
  for (const ModelBudget& budget : budgets) list.push_back(json::array{budget.name, budget.period});
  return json::serialize(list);
}

/// Of our own making: what cannot be read has been tampered with, and nothing is settled by it.
Result<std::vector<ModelBudget>> read_model_budgets(const std::string& text) {
  Error corrupted(ErrorCode::corrupted, "the budgets of a model call cannot be read");
  json::error_code bad;
  json::value value = json::parse(text, bad);
  if (bad || !value.is_array()) return corrupted;
  std::vector<ModelBudget> budgets;
  for (const json::value& each : value.get_array()) {
    const json::array* pair = each.if_array();
    if (!pair || pair->size() != 2 || !(*pair)[0].is_string() || !(*pair)[1].is_string()) {
      return corrupted;
    }
    budgets.push_back({std::string((*pair)[0].get_string()), std::string((*pair)[1].get_string())});
  }
  return budgets;
}

Result<ModelReservation> read_reservation(const Statement& row) {
  ModelReservation reservation;
  reservation.id = row.text(0);
  reservation.box = row.text(1);
  reservation.tenant = row.text(2);
  reservation.agent = row.text(3);
  reservation.key_id = row.text(4);
  reservation.host = row.text(5);
  reservation.model = row.text(6);
  HAKO_TRY(reservation.budgets, read_model_budgets(row.text(7)));
  reservation.input_tokens = row.integer(8);
  reservation.output_tokens = row.integer(9);
  reservation.microusd = row.integer(10);
  reservation.prices = row.text(11);
  reservation.created_ms = row.integer(12);
  return reservation;
}

ModelCount read_count(const Statement& row) {
  return {{row.integer(0), row.integer(1), row.integer(2)},
          {row.integer(3), row.integer(4), row.integer(5)},
          {row.integer(6), row.integer(7), row.integer(8)}};
}

ModelUsageRow read_usage(const Statement& row) {
  ModelUsageRow usage;
  usage.group = row.text(0);
  usage.requests = row.integer(1);
  usage.tokens = {row.integer(2), row.integer(3), row.integer(4), row.integer(5), row.integer(6)};
  usage.microusd = row.integer(7);
  usage.unconfirmed_tokens = row.integer(8);
  usage.unconfirmed_microusd = row.integer(9);
  return usage;
}

ModelStop read_stop(const Statement& row) {
  return {row.text(0), row.text(1), row.text(2), row.integer(3)};
}

std::string day_of(int64_t now_ms) {
  std::time_t seconds = now_ms / 1000;
  std::tm parts{};
  ::gmtime_r(&seconds, &parts);
  char text[32];
  size_t length = std::strftime(text, sizeof text, "%Y-%m-%d", &parts);
  return {text, length};
}

std::string_view group_of(ModelUsageBy by) {
  switch (by) {
    case ModelUsageBy::all:
      return "''";
    case ModelUsageBy::tenant:
      return "tenant";
    case ModelUsageBy::agent:
      return "agent";
    case ModelUsageBy::key:
      return "key_id";
    case ModelUsageBy::box:
      return "box";
    case ModelUsageBy::model:
      return "model";
    case ModelUsageBy::day:
      break;
  }
  return "day";
}

/// Commits are on disk when they are told, while this lives.
class Durably {
 public:
  static Result<Durably> begin(Database& database) {
    HAKO_TRYV(database.execute("PRAGMA synchronous=FULL"));
    return Durably(&database);
  }
  Durably(Durably&& other) noexcept : database_(std::exchange(other.database_, nullptr)) {}
  Durably& operator=(Durably&&) = delete;
  ~Durably() {
    if (database_) (void)database_->execute("PRAGMA synchronous=NORMAL");
  }

 private:
  explicit Durably(Database* database) : database_(database) {}
  Database* database_;
};

}  // namespace

Result<void> SqliteModels::reserve(const std::string& box, const Decide& decide) {
  HAKO_TRY(auto durably, Durably::begin(database_));
  return reserve_now(box, decide);
}

Result<void> SqliteModels::reserve_now(const std::string& box, const Decide& decide) {
  HAKO_TRY(auto transaction, Transaction::begin(database_));
  HAKO_TRY(auto record, store_.find_sandbox(box));
  if (!record) return Error(ErrorCode::not_found, "sandbox " + box + " not found");
  HAKO_TRY(auto tenant, store_.tenants().find_tenant(record->tenant));
  if (!tenant) return Error(ErrorCode::not_found, "tenant " + record->tenant + " not found");
  HAKO_TRY(auto key, store_.tenants().find_key_by_id(record->key_id));
  HAKO_TRY(auto stops, all_stops());
  std::erase_if(stops, [&](const ModelStop& stop) {
    return !stop.tenant.empty() && stop.tenant != record->tenant;
  });
  Facts facts{*record, *tenant, key, stops};
  Count count = [this](const ModelBudget& budget) { return count_of(budget); };
  HAKO_TRY(auto reservation, decide(facts, count));
  HAKO_TRYV(insert(reservation));
  ModelCount more;
  more.open = {1, reservation.input_tokens + reservation.output_tokens, reservation.microusd};
  for (const ModelBudget& budget : reservation.budgets) {
    HAKO_TRYV(add(budget, more));
  }
  return transaction.commit();
}

Result<void> SqliteModels::insert(const ModelReservation& reservation) {
  HAKO_TRY(auto statement,
           database_.prepare("INSERT INTO model_reservations (" + std::string(kReservationColumns) +
                             ", settled_ms, outcome) VALUES (" + places(13) + ", 0, '')"));
  statement.bind(1, reservation.id)
      .bind(2, reservation.box)
      .bind(3, reservation.tenant)
      .bind(4, reservation.agent)
      .bind(5, reservation.key_id)
      .bind(6, reservation.host)
      .bind(7, reservation.model)
      .bind(8, write_model_budgets(reservation.budgets))
      .bind(9, reservation.input_tokens)
      .bind(10, reservation.output_tokens)
      .bind(11, reservation.microusd)
      .bind(12, reservation.prices)
      .bind(13, reservation.created_ms);
  return statement.run();
}

Result<void> SqliteModels::add(const ModelBudget& budget, const ModelCount& more) {
  {
    // Apart from the sums: what is taken away must not be tried as a row of its own.
    HAKO_TRY(auto statement, database_.prepare("INSERT INTO model_budgets (budget, period, " +
                                               std::string(kCountColumns) +
                                               ") VALUES (?, ?, 0, 0, 0, 0, 0, 0, 0, 0, 0)"
                                               " ON CONFLICT (budget, period) DO NOTHING"));
    HAKO_TRYV(statement.bind(1, budget.name).bind(2, budget.period).run());
  }
  HAKO_TRY(auto statement,
           database_.prepare("UPDATE model_budgets SET told_requests = told_requests + ?,"
                             " told_tokens = told_tokens + ?, told_microusd = told_microusd + ?,"
                             " unconfirmed_requests = unconfirmed_requests + ?,"
                             " unconfirmed_tokens = unconfirmed_tokens + ?,"
                             " unconfirmed_microusd = unconfirmed_microusd + ?,"
                             " open_requests = open_requests + ?, open_tokens = open_tokens + ?,"
                             " open_microusd = open_microusd + ? WHERE budget = ? AND period = ?"));
  int place = 0;
  for (const ModelAmount& amount : {more.told, more.unconfirmed, more.open}) {
    statement.bind(place + 1, amount.requests)
        .bind(place + 2, amount.tokens)
        .bind(place + 3, amount.microusd);
    place += 3;
  }
  return statement.bind(10, budget.name).bind(11, budget.period).run();
}

Result<bool> SqliteModels::settle(const std::string& id, int64_t now_ms, const Settle& settle) {
  HAKO_TRY(auto transaction, Transaction::begin(database_));
  std::optional<ModelReservation> reservation;
  {
    HAKO_TRY(auto statement, database_.prepare(select(std::string(kReservationColumns) + ", settled_ms",
                                                      "model_reservations", "WHERE id = ?")));
    HAKO_TRY(bool row, statement.bind(1, id).step());
    if (!row) return Error(ErrorCode::not_found, "no such reservation of a model call");
    if (statement.integer(13) != 0) return false;
    HAKO_TRY(reservation, read_reservation(statement));
  }
  HAKO_TRYV(settle_one(*reservation, now_ms, settle));
  HAKO_TRYV(transaction.commit());
  return true;
}

Result<int64_t> SqliteModels::settle_older(int64_t before_ms, int64_t now_ms, int64_t most,
                                           const Settle& settle) {
  HAKO_TRY(auto transaction, Transaction::begin(database_));
  std::vector<ModelReservation> old;
  {
    HAKO_TRY(auto statement,
             database_.prepare(select(kReservationColumns, "model_reservations",
                                      "WHERE settled_ms = 0 AND created_ms < ?"
                                      " ORDER BY created_ms LIMIT ?")));
    statement.bind(1, before_ms).bind(2, most);
    for (;;) {
      HAKO_TRY(bool row, statement.step());
      if (!row) break;
      HAKO_TRY(auto reservation, read_reservation(statement));
      old.push_back(std::move(reservation));
    }
  }
  for (const ModelReservation& reservation : old) {
    HAKO_TRYV(settle_one(reservation, now_ms, settle));
  }
  HAKO_TRYV(transaction.commit());
  return static_cast<int64_t>(old.size());
}

Result<void> SqliteModels::settle_one(const ModelReservation& reservation, int64_t now_ms,
                                      const Settle& settle) {
  HAKO_TRY(auto settlement, settle(reservation));
  HAKO_TRY(auto statement,
           database_.prepare("UPDATE model_reservations SET settled_ms = ?, outcome = ?"
                             " WHERE id = ?"));
  statement.bind(1, now_ms).bind(2, settlement.outcome).bind(3, reservation.id);
  HAKO_TRYV(statement.run());
  ModelCount more;
  const ModelTokens& told = settlement.told;
  more.told = {settlement.requests, told.input + told.cached + told.cache_write + told.output,
               settlement.told_microusd};
  more.unconfirmed = {0, settlement.unconfirmed_tokens, settlement.unconfirmed_microusd};
  more.open = {-1, -(reservation.input_tokens + reservation.output_tokens), -reservation.microusd};
  for (const ModelBudget& budget : reservation.budgets) {
    HAKO_TRYV(add(budget, more));
  }
  return add_usage(reservation, settlement, now_ms);
}

Result<void> SqliteModels::add_usage(const ModelReservation& reservation,
                                     const ModelSettlement& settlement, int64_t now_ms) {
  HAKO_TRY(auto statement,
           database_.prepare(
               "INSERT INTO model_usage (tenant, agent, key_id, box, model, day, requests, input,"
               " cached, cache_write, cache_write_1h, output, microusd, unconfirmed_tokens,"
               " unconfirmed_microusd) VALUES (" + places(15) +
               ") ON CONFLICT (tenant, box, model, day) DO UPDATE SET"
               " requests = requests + excluded.requests, input = input + excluded.input,"
               " cached = cached + excluded.cached,"
               " cache_write = cache_write + excluded.cache_write,"
               " cache_write_1h = cache_write_1h + excluded.cache_write_1h,"
               " output = output + excluded.output, microusd = microusd + excluded.microusd,"
               " unconfirmed_tokens = unconfirmed_tokens + excluded.unconfirmed_tokens,"
               " unconfirmed_microusd = unconfirmed_microusd + excluded.unconfirmed_microusd"));
  statement.bind(1, reservation.tenant)
      .bind(2, reservation.agent)
      .bind(3, reservation.key_id)
      .bind(4, reservation.box)
      .bind(5, reservation.model)
      .bind(6, day_of(now_ms))
      .bind(7, settlement.requests)
      .bind(8, settlement.told.input)
      .bind(9, settlement.told.cached)
      .bind(10, settlement.told.cache_write)
      .bind(11, settlement.told.cache_write_1h)
      .bind(12, settlement.told.output)
      .bind(13, settlement.told_microusd)
      .bind(14, settlement.unconfirmed_tokens)
      .bind(15, settlement.unconfirmed_microusd);
  return statement.run();
}

Result<void> SqliteModels::forget(int64_t settled_before_ms, const std::string& before_day) {
  HAKO_TRY(auto transaction, Transaction::begin(database_));
  {
    HAKO_TRY(auto statement,
             database_.prepare("DELETE FROM model_reservations WHERE settled_ms > 0"
                               " AND settled_ms < ?"));
    HAKO_TRYV(statement.bind(1, settled_before_ms).run());
  }
  {
    HAKO_TRY(auto statement, database_.prepare("DELETE FROM model_usage WHERE day < ?"));
    HAKO_TRYV(statement.bind(1, before_day).run());
  }
  HAKO_TRYV(database_.execute("DELETE FROM model_budgets WHERE budget LIKE 'box:%'"
                              " AND open_requests = 0"
                              " AND substr(budget, 5) NOT IN (SELECT id FROM sandboxes)"));
  return transaction.commit();
}

Result<ModelCount> SqliteModels::count_of(const ModelBudget& budget) {
  HAKO_TRY(auto statement, database_.prepare(select(kCountColumns, "model_budgets",
                                                    "WHERE budget = ? AND period = ?")));
  HAKO_TRY(bool row, statement.bind(1, budget.name).bind(2, budget.period).step());
  return row ? read_count(statement) : ModelCount();
}

Result<int64_t> SqliteModels::count_open() {
  HAKO_TRY(auto statement,
           database_.prepare("SELECT count(*) FROM model_reservations WHERE settled_ms = 0"));
  HAKO_TRY(bool row, statement.step());
  return row ? statement.integer(0) : 0;
}

Result<std::vector<ModelUsageRow>> SqliteModels::usage(const ModelUsageQuery& query) {
  std::string group(group_of(query.by));
  std::string text = "SELECT " + group +
                     ", sum(requests), sum(input), sum(cached), sum(cache_write),"
                     " sum(cache_write_1h), sum(output), sum(microusd), sum(unconfirmed_tokens),"
                     " sum(unconfirmed_microusd) FROM model_usage WHERE day >= ?1"
                     " AND (?2 = '' OR day <= ?2) AND (?3 IS NULL OR tenant = ?3)"
                     " AND (?4 = '' OR agent = ?4 OR substr(agent, 1, length(?4) + 1) = ?4 || '/')"
                     " AND (?5 IS NULL OR key_id = ?5) AND (?6 IS NULL OR box = ?6)"
                     " GROUP BY 1 ORDER BY 1";
  HAKO_TRY(auto statement, database_.prepare(text));
  auto bind = [&](int index, const std::optional<std::string>& value) {
    if (value) {
      statement.bind(index, *value);
    } else {
      statement.bind_null(index);
    }
  };
  statement.bind(1, query.from_day).bind(2, query.to_day).bind(4, query.agent);
  bind(3, query.tenant);
  bind(5, query.key_id);
  bind(6, query.box);
  return read_rows(statement, read_usage);
}

Result<void> SqliteModels::put_stop(const ModelStop& stop) {
  HAKO_TRY(auto statement,
           database_.prepare("INSERT INTO model_stops (tenant, reason, stopped_by, since_ms)"
                             " VALUES (?, ?, ?, ?) ON CONFLICT (tenant) DO UPDATE SET"
                             " reason = excluded.reason, stopped_by = excluded.stopped_by,"
                             " since_ms = excluded.since_ms"));
  return statement.bind(1, stop.tenant)
      .bind(2, stop.reason)
      .bind(3, stop.by)
      .bind(4, stop.since_ms)
      .run();
}

Result<bool> SqliteModels::remove_stop(const std::string& tenant) {
  HAKO_TRY(auto statement, database_.prepare("DELETE FROM model_stops WHERE tenant = ?"));
  HAKO_TRYV(statement.bind(1, tenant).run());
  return database_.changes() == 1;
}

Result<std::vector<ModelStop>> SqliteModels::all_stops() {
  HAKO_TRY(auto statement,
           database_.prepare(
               select("tenant, reason, stopped_by, since_ms", "model_stops", "ORDER BY tenant")));
  return read_rows(statement, read_stop);
}

}  // namespace hako::store
