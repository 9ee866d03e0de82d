// Calls of models: let through only where a budget has room for them, and counted. What cannot be counted
// is refused, and so is everything while the store does not answer.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "api/model_message.h"
#include "api/principal.h"
#include "base/async/task.h"
#include "base/async/turn_queue.h"
#include "base/token_bucket.h"
#include "config/models.h"
#include "rpc/peer.h"
#include "store/async_store.h"

namespace hako::api {

/// What somebody may see of what models cost.
struct ModelUsageRequest {
  store::ModelUsageBy by = store::ModelUsageBy::all;
  std::string from_day, to_day;  ///< as of store::ModelUsageQuery
  std::optional<std::string> box;
  bool all_tenants = false;
};

/// Thread: one executor. Calls may overlap.
class ModelBudgets {
 public:
  /// How often one box may ask, in calls per second, and at once.
  struct Pace {
    double per_second = 20;
    double burst = 40;
  };

  ModelBudgets(config::Models models, store::AsyncStore& store) : ModelBudgets(std::move(models), store, Pace()) {}
  ModelBudgets(config::Models models, store::AsyncStore& store, Pace pace)
      : models_(std::make_shared<const config::Models>(std::move(models))),
        store_(store),
        pace_(pace) {}

  const config::Models& models() const { return *models_; }

  /// Answers model.reserve and model.settle (docs/internal-messages.md) of a gate. Before its run();
  /// this must outlive it.
  void register_on(rpc::Peer& gate);

  /// {reservation}. Errors as of admit_model_call(); not_found for an unknown box; invalid_argument;
  /// resource_exhausted for a box that asks too often; unavailable while the store does not answer.
  Task<Result<rpc::Payload>> reserve(rpc::Payload payload);
  /// {}, also for one that is settled. invalid_argument; not_found; unavailable.
  Task<Result<rpc::Payload>> settle(rpc::Payload payload);

  /// Settles what nobody tells of, and forgets what is old. Until cancelled.
  Task<void> run();
  /// Once, as of then.
  Task<Result<void>> settle_lost(int64_t now_ms);
  /// A sandbox is no more.
  void drop(const std::string& box) { paces_.erase(box); }

  /// Errors of the calls below are fit for the user.
  /// Rows of what they may see: of their own tenant, of their agent and those below it, and, where their
  /// key hides something from them, of what that key made alone.
  Task<Result<std::vector<store::ModelUsageRow>>> usage(ModelUsageRequest request, Principal who);
  /// Those that concern them.
  Task<Result<std::vector<store::ModelStop>>> stops(Principal who);
  /// Of their own tenant, or, for the operator alone, of the named one, or with an empty name of all.
  /// permission_denied; not_found.
  Task<Result<void>> stop(ModelSwitch wanted, Principal who);
  Task<Result<void>> start(ModelSwitch wanted, Principal who);

 private:
  Task<Result<std::string>> whose_switch(const ModelSwitch& wanted, const Principal& who);
  bool too_often(const std::string& box);
  /// Work on the store, when it is its turn: the store has a queue of its own for everybody, and calls of
  /// models, of which boxes can make any number, must not fill it.
  template <class Work>
  auto in_turn(Work work) -> Task<decltype(work(std::declval<store::ModelStore&>()))>;

  std::shared_ptr<const config::Models> models_;  ///< shared with the store's thread
  store::AsyncStore& store_;
  Pace pace_;
  std::map<std::string, TokenBucket> paces_;
  static constexpr int kMostInStore = 16;
  TurnQueue turns_{kMostInStore};
  size_t waiting_ = 0;
};

}  // namespace hako::api
