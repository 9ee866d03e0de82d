#include "api/model_budgets.h"

#include "api/egress_policy.h"
#include "api/model_admission.h"
#include "api/now.h"
#include "api/tenants.h"
#include "api/user_error.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/random.h"

namespace hako::api {
namespace json = boost::json;
using namespace std::chrono_literals;
using store::ModelStore;

namespace {

constexpr size_t kReservationBytes = 16;
constexpr auto kSweepEvery = 30s;
constexpr int64_t kMostAtOnce = 500;
/// How long a gate may come back to say again what it has said.
constexpr int64_t kSettledKeptMs = 60 * 60 * 1000;
constexpr int64_t kUsageKeptMs = int64_t(400) * 24 * 60 * 60 * 1000;
/// Calls that wait to be counted. Whoever comes then would hear too late that they may go on.
constexpr size_t kMostWaitingCalls = 2048;
/// Boxes whose pace is remembered; more than there are.
constexpr size_t kMostPaces = 16'384;

/// Of a store that fails, the gate learns no more than that.
Error for_the_gate(const Error& error, const char* what) {
  switch (error.code()) {
    case ErrorCode::not_found:
    case ErrorCode::permission_denied:
    case ErrorCode::resource_exhausted:
    case ErrorCode::invalid_argument:
      return error;
    default:
      break;
  }
  json::object fields;
  fields["error"] = error.message();
  log_warn(what, std::move(fields));
  return Error(ErrorCode::unavailable,
               "what the call costs cannot be counted at the moment, and so it is refused");
}

}  // namespace

void ModelBudgets::register_on(rpc::Peer& gate) {
  rpc::Handler on_reserve = [this](rpc::Payload payload) { return reserve(std::move(payload)); };
  gate.on("model.reserve", std::move(on_reserve));
  rpc::Handler on_settle = [this](rpc::Payload payload) { return settle(std::move(payload)); };
  gate.on("model.settle", std::move(on_settle));
}

bool ModelBudgets::too_often(const std::string& box) {
  auto found = paces_.find(box);
  if (found == paces_.end()) {
    if (paces_.size() >= kMostPaces) paces_.clear();
    found = paces_.emplace(box, TokenBucket(pace_.per_second, pace_.burst)).first;
  }
  return !found->second.take(std::chrono::steady_clock::now());
}

template <class Work>
auto ModelBudgets::in_turn(Work work) -> Task<decltype(work(std::declval<ModelStore&>()))> {
  if (waiting_ >= kMostWaitingCalls) {
    co_return Error(ErrorCode::unavailable, "too many calls of models wait to be counted");
  }
  struct Waiting {
    explicit Waiting(size_t& count) : waiting(count) { ++waiting; }
    ~Waiting() { --waiting; }
    size_t& waiting;
  };
  Waiting waiting(waiting_);
  auto turn = co_await turns_.take();
  co_return co_await store_.with_models(std::move(work));
}

Task<Result<rpc::Payload>> ModelBudgets::reserve(rpc::Payload payload) {
  HAKO_CO_TRY(auto call, parse_model_call(payload.body));
  if (too_often(call.box)) {
    co_return Error(ErrorCode::resource_exhausted, "the sandbox calls models too often; wait");
  }
  std::string id = random_hex(kReservationBytes);
  auto work = [models = models_, call, id](ModelStore& store) {
    ModelStore::Decide decide = [&](const ModelStore::Facts& facts,
                                    const ModelStore::Count& count) {
      return admit_model_call(*models, call, id, unix_now_ms(), facts, count);
    };
    return store.reserve(call.box, decide);
  };
  auto reserving = in_turn(std::move(work));
  auto reserved = co_await std::move(reserving);
  if (!reserved) co_return for_the_gate(reserved.error(), "model call not counted");
  rpc::Payload answer;
  answer.body["reservation"] = id;
  co_return answer;
}

Task<Result<rpc::Payload>> ModelBudgets::settle(rpc::Payload payload) {
  HAKO_CO_TRY(auto end, parse_model_end(payload.body));
  auto work = [end](ModelStore& store) {
    ModelStore::Settle settle = [&](const store::ModelReservation& reservation) {
      return settle_model_call(reservation, end);
    };
    return store.settle(end.reservation, unix_now_ms(), settle);
  };
  auto settling = in_turn(std::move(work));
  auto settled = co_await std::move(settling);
  if (!settled) co_return for_the_gate(settled.error(), "model call not settled");
  co_return rpc::Payload();
}

Task<Result<void>> ModelBudgets::settle_lost(int64_t now_ms) {
  int64_t before = now_ms - models_->reservation_minutes * 60 * 1000;
  for (;;) {
    auto work = [before, now_ms](ModelStore& store) {
      ModelStore::Settle settle = [](const store::ModelReservation& reservation) {
        return settle_model_call(reservation, ModelCallEnd());
      };
      return store.settle_older(before, now_ms, kMostAtOnce, settle);
    };
    HAKO_CO_TRY(int64_t settled, co_await store_.with_models(std::move(work)));
    if (settled > 0) {
      json::object fields;
      fields["calls"] = settled;
      log_warn("model calls of which nobody told the end", std::move(fields));
    }
    if (settled < kMostAtOnce) break;
  }
  auto forget = [now_ms](ModelStore& store) {
    return store.forget(now_ms - kSettledKeptMs, traffic_period(now_ms - kUsageKeptMs));
  };
  co_return co_await store_.with_models(std::move(forget));
}

Task<void> ModelBudgets::run() {
  for (;;) {
    auto swept = co_await settle_lost(unix_now_ms());
    if (!swept) log_warn("model calls not swept", {{"error", swept.error().message()}});
    co_await sleep_for(kSweepEvery);
  }
}

Task<Result<std::vector<store::ModelUsageRow>>> ModelBudgets::usage(ModelUsageRequest request,
                                                                    Principal who) {
  if (request.all_tenants && !who.is_operator) {
    co_return Error(ErrorCode::permission_denied, "only the operator sees other tenants");
  }
  auto work = [request, who](store::Store& store) -> Result<std::vector<store::ModelUsageRow>> {
    store::ModelUsageQuery query;
    query.by = request.by;
    query.from_day = request.from_day;
    query.to_day = request.to_day;
    query.box = request.box;
    if (!request.all_tenants) {
      query.tenant = who.tenant;
      HAKO_TRY(auto tenant, store.tenants().find_tenant(who.tenant));
      if (!tenant) return Error(ErrorCode::not_found, "tenant " + who.tenant + " not found");
      query.agent = who.agent;
      // Sums over what is hidden from them would betray it.
      if (!sees_whole_tenant(who, *tenant)) query.key_id = who.key_id;
    }
    return store.models().usage(query);
  };
  auto rows = co_await store_.with_all(std::move(work));
  if (!rows) co_return error_for_user(rows.error(), "usage of models not read");
  co_return std::move(rows.value());
}

Task<Result<std::vector<store::ModelStop>>> ModelBudgets::stops(Principal who) {
  auto work = [](ModelStore& store) { return store.all_stops(); };
  auto all = co_await store_.with_models(std::move(work));
  if (!all) co_return error_for_user(all.error(), "stops of models not read");
  std::vector<store::ModelStop> shown;
  for (store::ModelStop& stop : all.value()) {
    bool theirs = stop.tenant.empty() || stop.tenant == who.tenant;
    if (theirs || who.is_operator) shown.push_back(std::move(stop));
  }
  co_return shown;
}

Task<Result<std::string>> ModelBudgets::whose_switch(const ModelSwitch& wanted,
                                                     const Principal& who) {
  std::string tenant = wanted.tenant.value_or(who.tenant);
  if (tenant != who.tenant && !who.is_operator) {
    co_return Error(ErrorCode::permission_denied,
                    "only the operator stops or starts models beyond their own tenant");
  }
  // An agent's key is not the tenant's.
  if (!who.agent.empty()) {
    co_return Error(ErrorCode::permission_denied, "an agent does not stop or start models");
  }
  if (tenant.empty()) co_return tenant;
  auto work = [tenant](store::TenantStore& tenants) { return tenants.find_tenant(tenant); };
  auto found = co_await store_.with_tenants(std::move(work));
  if (!found) co_return error_for_user(found.error(), "tenant not read");
  if (!found.value()) {
    co_return Error(ErrorCode::not_found, "tenant " + tenant + " not found");
  }
  co_return tenant;
}

Task<Result<void>> ModelBudgets::stop(ModelSwitch wanted, Principal who) {
  HAKO_CO_TRY(auto tenant, co_await whose_switch(wanted, who));
  store::ModelStop stop{tenant, wanted.reason, who.key_id, unix_now_ms()};
  auto work = [stop = std::move(stop)](ModelStore& store) { return store.put_stop(stop); };
  auto stopped = co_await store_.with_models(std::move(work));
  if (!stopped) co_return error_for_user(stopped.error(), "models not stopped");
  co_return ok();
}

Task<Result<void>> ModelBudgets::start(ModelSwitch wanted, Principal who) {
  HAKO_CO_TRY(auto tenant, co_await whose_switch(wanted, who));
  auto work = [tenant](ModelStore& store) { return store.remove_stop(tenant); };
  auto started = co_await store_.with_models(std::move(work));
  if (!started) co_return error_for_user(started.error(), "models not started");
  co_return ok();
}

}  // namespace hako::api
