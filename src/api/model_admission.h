// Whether a call of a model is let through, what is set aside for it, and what becomes of that. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "api/model_message.h"
#include "config/models.h"
#include "store/store.h"

namespace hako::api {

/// The month of UTC, "2026-11": the period of a tenant's quota.
std::string model_period(int64_t now_ms);
std::string budget_of_box(std::string_view box);

/// The most that a call may take.
struct ModelBound {
  int64_t input_tokens = 0;
  int64_t output_tokens = 0;
  int64_t microusd = 0;
  bool priced = false;  ///< the operator's table knows the model
};
ModelBound bound_of(const config::Models& models, const ModelCallRequest& call);

/// The reservation for a call, in the transaction that counts it; `id` is what it will be called.
/// permission_denied: stopped, or not allowed, with the reason for whoever called; resource_exhausted:
/// a budget is spent, or has no room for all that the call may take; corrupted: a restriction that
/// cannot be read.
Result<store::ModelReservation> admit_model_call(const config::Models& models,
                                                 const ModelCallRequest& call, std::string id,
                                                 int64_t now_ms,
                                                 const store::ModelStore::Facts& facts,
                                                 const store::ModelStore::Count& count);

/// What of the reservation was used up. What an answer did not say counts as much as it may have been:
/// whoever cuts an answer off before it says what it cost gets nothing for less.
Result<store::ModelSettlement> settle_model_call(const store::ModelReservation& reservation,
                                                 const ModelCallEnd& end);

}  // namespace hako::api
