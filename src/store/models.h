// What the API remembers of calls of models: what they cost, what is set aside for them, who is stopped.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "store/tenants.h"

namespace hako::store {

struct SandboxRecord;

/// What calls took, or may take. Money is in millionths of a dollar.
struct ModelAmount {
  int64_t requests = 0;
  int64_t tokens = 0;
  int64_t microusd = 0;
  bool operator==(const ModelAmount&) const = default;
};

/// Tokens by what they were. Each stands in one member alone, but those kept for an hour.
struct ModelTokens {
  int64_t input = 0;
  int64_t cached = 0;
  int64_t cache_write = 0;
  int64_t cache_write_1h = 0;  ///< of cache_write
  int64_t output = 0;
  bool operator==(const ModelTokens&) const = default;
};

/// What calls are counted against: a box, a key, a token's caveat or a tenant, for ever (an empty
/// period) or in a period that the API names.
struct ModelBudget {
  std::string name;
  std::string period;
  bool operator==(const ModelBudget&) const = default;
};

/// All that counts against a budget now.
struct ModelCount {
  ModelAmount told;        ///< what providers said that ended calls took
  ModelAmount unconfirmed; ///< what ended calls took at most, of which nobody said it
  ModelAmount open;        ///< set aside for calls that go on
  bool operator==(const ModelCount&) const = default;

  ModelAmount all() const {
    return {told.requests + unconfirmed.requests + open.requests,
            told.tokens + unconfirmed.tokens + open.tokens,
            told.microusd + unconfirmed.microusd + open.microusd};
  }
};

/// One call that was let through.
struct ModelReservation {
  std::string id;
  std::string box;
  std::string tenant;
  std::string agent;
  std::string key_id;
  std::string host;
  std::string model;
  std::vector<ModelBudget> budgets;
  int64_t input_tokens = 0;  ///< set aside; as output_tokens
  int64_t output_tokens = 0;
  int64_t microusd = 0;
  std::string prices;  ///< JSON that only the API reads: what tokens cost when it was let through
  int64_t created_ms = 0;
};

/// How one ended.
struct ModelSettlement {
  std::string outcome;     ///< a word of the API
  int64_t requests = 0;    ///< 0 if it never went out
  ModelTokens told;
  int64_t told_microusd = 0;
  int64_t unconfirmed_tokens = 0;
  int64_t unconfirmed_microusd = 0;
};

/// Sums of what ended calls took, for people to read.
struct ModelUsageRow {
  std::string group;  ///< what they have in common; empty for all
  int64_t requests = 0;
  ModelTokens tokens;
  int64_t microusd = 0;
  int64_t unconfirmed_tokens = 0;
  int64_t unconfirmed_microusd = 0;
  bool operator==(const ModelUsageRow&) const = default;
};

enum class ModelUsageBy { all, tenant, agent, key, box, model, day };

struct ModelUsageQuery {
  ModelUsageBy by = ModelUsageBy::all;
  std::optional<std::string> tenant;
  std::string agent;                  ///< only of it and those below; empty: all
  std::optional<std::string> key_id;
  std::optional<std::string> box;
  std::string from_day;               ///< "2026-11-01", inclusive; empty: from the beginning
  std::string to_day;                 ///< inclusive; empty: until now
};

/// A switch that is thrown: no calls for a tenant, or, with an empty one, for nobody.
struct ModelStop {
  std::string tenant;
  std::string reason;
  std::string by;  ///< the key that did it
  int64_t since_ms = 0;
  bool operator==(const ModelStop&) const = default;
};

/// The rules of Store (store.h) hold.
class ModelStore {
 public:
  virtual ~ModelStore() = default;

  /// All that decides about a call, read in the transaction that lets it through.
  struct Facts {
    const SandboxRecord& box;
    const TenantRecord& tenant;
    const std::optional<ApiKey>& key;  ///< that which made the box; nothing: it is gone
    const std::vector<ModelStop>& stops;  ///< those that hold for the box's tenant
  };
  /// What counts against a budget now.
  using Count = std::function<Result<ModelCount>(const ModelBudget&)>;
  /// Makes the reservation, or says why not.
  using Decide = std::function<Result<ModelReservation>(const Facts&, const Count&)>;

  /// Writes down what `decide` makes, and sets it aside in all its budgets, on disk for sure, as it must
  /// outlive a power failure: the call is not made before. Deciding and writing are one transaction, so
  /// that two at once never get the last of a budget both. not_found for an unknown box; already_exists;
  /// or what `decide` says.
  virtual Result<void> reserve(const std::string& box, const Decide& decide) = 0;

  using Settle = std::function<Result<ModelSettlement>(const ModelReservation&)>;
  /// Makes what was set aside what `settle` says that it became. Whether it was open: one that is settled
  /// stays as it is. not_found.
  virtual Result<bool> settle(const std::string& id, int64_t now_ms, const Settle& settle) = 0;
  /// Settles up to `most` open ones that were made before. How many.
  virtual Result<int64_t> settle_older(int64_t before_ms, int64_t now_ms, int64_t most,
                                       const Settle& settle) = 0;
  /// Forgets reservations that were settled before, usage of earlier days, and what was counted against
  /// boxes that are no more.
  virtual Result<void> forget(int64_t settled_before_ms, const std::string& before_day) = 0;

  virtual Result<ModelCount> count_of(const ModelBudget& budget) = 0;
  /// Open ones of all tenants.
  virtual Result<int64_t> count_open() = 0;
  /// Ordered by their groups.
  virtual Result<std::vector<ModelUsageRow>> usage(const ModelUsageQuery& query) = 0;

  virtual Result<void> put_stop(const ModelStop& stop) = 0;
  /// Whether there was one.
  virtual Result<bool> remove_stop(const std::string& tenant) = 0;
  virtual Result<std::vector<ModelStop>> all_stops() = 0;
};

}  // namespace hako::store
