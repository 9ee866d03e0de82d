// Pausing sandboxes and going on with them.
#include <algorithm>

#include "api/admission.h"
#include "api/checkpoints.h"
#include "api/egress_policy.h"
#include "api/now.h"
#include "api/sandbox_calls.h"
#include "api/sandboxes.h"
#include "api/scope.h"
#include "api/tenants.h"
#include "base/log.h"

namespace hako::api {
namespace json = boost::json;
using store::SandboxRecord;
using store::SandboxState;

namespace {

/// Whoever wakes a sandbox by traffic gets at least this long, as E2B's clients expect.
constexpr int64_t kLeastWakeSeconds = 300;

/// Whether the gate, or the node, may have been told something else than what the record says now.
bool told_otherwise(const SandboxRecord& told, const SandboxRecord& now) {
  return told.egress != now.egress || told.grants != now.grants || told.options != now.options ||
         told.traffic_token != now.traffic_token || told.label != now.label;
}

/// One that is paused takes its place again. Of one tenant, and in one step with what is counted.
Result<SandboxRecord> begin_resume(store::Store& store, const std::string& id,
                                   const policy::Amounts& building) {
  HAKO_TRY(auto record, store.find_sandbox(id));
  if (!record) return sandbox_not_found(id);
  if (record->state != SandboxState::paused) return wrong_state(id, record->state);
  HAKO_TRY(auto tenant, store.tenants().find_tenant(record->tenant));
  if (!tenant || tenant->suspended) {
    return Error(ErrorCode::failed_precondition, "the sandbox's tenant is suspended");
  }
  HAKO_TRY(auto quota, read_quota(tenant->quota));
  store::Store::InUse in_use;
  HAKO_TRY(in_use.tenant, store.tenants().usage_of(record->tenant));
  HAKO_TRYV(admit_again(quota, *record, in_use.tenant, building));
  HAKO_TRYV(store.move_state(id, SandboxState::paused, SandboxState::resuming));
  record->state = SandboxState::resuming;
  return *record;
}

}  // namespace

Task<Result<void>> Sandboxes::pause(std::string id, Principal who, bool with_memory) {
  HAKO_CO_TRY(auto seen, co_await find_running(id, who));
  Busy pausing(busy_, id);
  auto begun = co_await store_.move_state(id, SandboxState::running, SandboxState::pausing);
  if (!begun && begun.error().code() == ErrorCode::not_found) co_return sandbox_not_found(id);
  auto current = co_await store_.find_sandbox(id);
  if (!current) co_return error_for_user(current.error(), "record not read");
  if (!current.value()) co_return sandbox_not_found(id);
  if (!begun && begun.error().code() == ErrorCode::failed_precondition) {
    co_return wrong_state(id, current.value()->state);
  }
  if (!begun) co_return error_for_user(begun.error(), "record not written");
  auto pausing_it = pause_at_node(std::move(*current.value()), with_memory);
  co_return co_await std::move(pausing_it);
}

Task<Result<void>> Sandboxes::pause_at_node(SandboxRecord record, bool with_memory) {
  const std::string& id = record.id;
  json::object body = box_only(id, record.tenant);
  body["checkpoint"] = pause_checkpoint(id, record.pauses + 1);
  body["memory"] = with_memory;
  body["then"] = "end";
  auto answer = co_await node_.call("box.checkpoint", std::move(body), kCheckpointDeadline);
  if (answer) {
    store::Paused paused{record.pauses + 1, with_memory, unix_now_ms()};
    auto written = co_await become_paused(id, paused);
    if (!written && written.error().code() == ErrorCode::not_found) {
      // Somebody has destroyed it meanwhile.
      co_await remove_checkpoints(record);
      co_return sandbox_not_found(id);
    }
    // Its end may have come first, with the same state.
    bool paused_already =
        !written && written.error().code() == ErrorCode::failed_precondition;
    if (!written && !paused_already) co_return error_for_user(written.error(), "record not written");
    co_return ok();
  }
  if (answer.error().code() == ErrorCode::not_found) {
    // It may have come to its end while this call was on its way, and be paused by that.
    if (co_await is_kept(id, "unknown to the node")) co_return wrong_state(id, SandboxState::paused);
    co_return sandbox_not_found(id);
  }
  if (is_ambiguous(answer.error())) {
    co_await settle_now(id);
    co_return error_for_user(answer.error(), "sandbox not paused");
  }
  auto back = co_await store_.move_state(id, SandboxState::pausing, SandboxState::running);
  if (!back) (void)error_for_user(back.error(), "record not written");
  co_return error_for_user(answer.error(), "sandbox not paused");
}

Task<Result<void>> Sandboxes::become_paused(std::string id, store::Paused paused) {
  HAKO_CO_TRYV(co_await store_.set_paused(id, paused));
  note(id, paused.with_memory ? "paused" : "paused without its memory");
  auto record = co_await store_.find_sandbox(id);
  if (record && record.value()) events_.changed(*record.value(), "paused");
  co_return ok();
}

Task<void> Sandboxes::settle_now(std::string id) {
  auto record = co_await store_.find_sandbox(id);
  if (!record || !record.value()) co_return;
  auto boxes = co_await node_.list_boxes();
  auto checkpoints = co_await node_.list_checkpoints();
  // reconcile() asks again.
  if (!boxes || !checkpoints) co_return;
  Kept kept;
  for (NodeCheckpoint& each : checkpoints.value()) kept.emplace(each.id, std::move(each));
  const NodeBox* its_box = nullptr;
  for (const NodeBox& box : boxes.value()) {
    if (box.id == id) its_box = &box;
  }
  auto settled = co_await settle_pause(*record.value(), its_box, kept);
  if (!settled) (void)error_for_user(settled.error(), "sandbox not settled");
}

Task<bool> Sandboxes::is_kept(std::string id, std::string reason) {
  auto found = co_await store_.find_sandbox(id);
  if (!found) {
    (void)error_for_user(found.error(), "record not read");
    co_return true;
  }
  if (!found.value()) co_return false;
  SandboxRecord record = std::move(*found.value());
  // Whoever resumes it has the old state still.
  if (resuming_.count(id)) co_return true;
  if (record.state == SandboxState::paused || record.state == SandboxState::resuming) co_return true;
  auto checkpoints = co_await node_.list_checkpoints();
  bool keeps_none = !checkpoints && checkpoints.error().code() == ErrorCode::unsupported;
  if (!checkpoints && !keeps_none) co_return true;
  if (checkpoints) {
    std::string wanted = pause_checkpoint(id, record.pauses + 1);
    for (const NodeCheckpoint& each : checkpoints.value()) {
      if (each.id != wanted) continue;
      store::Paused paused{record.pauses + 1, each.with_memory, each.created_ms};
      auto written = co_await become_paused(id, paused);
      co_return written || written.error().code() != ErrorCode::not_found;
    }
  }
  co_await forget(id, std::move(reason));
  co_return false;
}

Task<void> Sandboxes::box_gone(std::string id, std::string reason, std::string detail) {
  auto found = co_await store_.find_sandbox(id);
  if (!found || !found.value())
    co_return co_await forget(id, std::move(reason), std::move(detail));
  const SandboxRecord& record = *found.value();
  if (record.state == SandboxState::paused) co_return;  // that was its machine before
  if (resuming_.count(id)) {
    // Whoever resumes it looks for this until the old state goes.
    died_resuming_.insert(id);
    co_return;
  }
  if (record.state == SandboxState::resuming) co_return;
  SandboxOptions options = parse_options(record.options);
  if (reason == "paused") {
    auto name = parse_pause_checkpoint(detail);
    if (name && name->sandbox == id && name->pauses > record.pauses) {
      store::Paused paused{name->pauses, options.auto_pause_memory, unix_now_ms()};
      auto written = co_await become_paused(id, paused);
      if (!written) (void)error_for_user(written.error(), "record not written");
      co_return;
    }
    log_warn("a sandbox is paused under another name", {{"sandbox", id}, {"checkpoint", detail}});
  }
  // Its state may have been on disk before the machine ended in another way than it was to.
  bool may_be_kept = record.state == SandboxState::pausing || options.auto_pause;
  if (reason != "destroyed" && may_be_kept) {
    (void)co_await is_kept(id, std::move(reason));
    co_return;
  }
  co_await forget(id, std::move(reason), std::move(detail));
}

Task<Result<SandboxRecord>> Sandboxes::resume(std::string id, Principal who,
                                              ResumeRequest request) {
  auto decision = policy::may_live(request.ttl, limits_of(config_));
  if (!decision.allowed) co_return refused_field(decision);
  auto permitted = may_live(who, request.ttl.count());
  if (!permitted.allowed) co_return refused_by(permitted);
  if (request.ttl.count() <= 0) {
    co_return Error(ErrorCode::invalid_argument, "timeout: a sandbox is resumed for 1 s at least");
  }
  HAKO_CO_TRY(auto record, co_await find(id, who));
  if (record.state == SandboxState::running) co_return wrong_state(id, record.state);
  if (request.with_memory && !*request.with_memory && record.with_memory) {
    co_return Error(ErrorCode::unsupported,
                    "memory: this sandbox was paused with its memory, and goes on with it; pause it "
                    "with memory set to false to keep its files only");
  }
  int64_t asked_ms = unix_now_ms() + int64_t(request.ttl.count()) * 1000;
  int64_t ends_ms = std::min(asked_ms, latest_end_ms(who, record));
  if (ends_ms <= unix_now_ms()) co_return refused_by(may_end_at(who, record, asked_ms));
  auto going_on = go_on(std::move(record), ends_ms);
  co_return co_await std::move(going_on);
}

Task<Result<void>> Sandboxes::wake(std::string id) {
  auto found = co_await store_.find_sandbox(id);
  if (!found) co_return error_for_user(found.error(), "record not read");
  if (!found.value()) co_return sandbox_not_found(id);
  SandboxRecord record = std::move(*found.value());
  if (record.state == SandboxState::running) co_return ok();
  // In the same words for one that is not there: who asks is a stranger.
  if (!wakes_on_traffic(record)) co_return sandbox_not_found(id);
  SandboxOptions options = parse_options(record.options);
  int64_t seconds = std::clamp(options.timeout_s, kLeastWakeSeconds,
                               std::max<int64_t>(kLeastWakeSeconds, config_.max_ttl.count()));
  int64_t ends_ms = std::min(unix_now_ms() + seconds * 1000, options.ends_by_ms);
  if (ends_ms <= unix_now_ms()) co_return sandbox_not_found(id);
  auto going_on = go_on(std::move(record), ends_ms);
  auto outcome = co_await std::move(going_on);
  if (!outcome) co_return outcome.error();
  co_return ok();
}

Task<Result<SandboxRecord>> Sandboxes::go_on(SandboxRecord record, int64_t ends_ms) {
  std::string id = record.id;
  if (auto known = resuming_.find(id); known != resuming_.end()) {
    std::shared_ptr<Resuming> under_way = known->second;
    while (!under_way->outcome) co_await under_way->ended.wait();
    co_return *under_way->outcome;
  }
  /// Whatever becomes of this call, nobody waits for it in vain.
  struct Ours {
    Ours(Sandboxes& all, std::string id) : all_(all), id_(std::move(id)) {
      all_.resuming_[id_] = state_;
    }
    ~Ours() {
      if (!state_->outcome) {
        state_->outcome.emplace(Error(ErrorCode::unavailable, "the resume was cut off; try again"));
      }
      all_.resuming_.erase(id_);
      all_.died_resuming_.erase(id_);
      state_->ended.notify_all();
    }
    Sandboxes& all_;
    std::string id_;
    std::shared_ptr<Resuming> state_ = std::make_shared<Resuming>();
  } ours(*this, id);
  auto alone = go_on_alone(id, record.tenant, ends_ms);
  auto outcome = co_await std::move(alone);
  if (outcome && died_resuming_.erase(id)) {
    // Behind all of it, as any that runs may end.
    co_await forget(id, "died");
    outcome = sandbox_not_found(id);
  }
  ours.state_->outcome = outcome;
  co_return outcome;
}

Task<Result<SandboxRecord>> Sandboxes::go_on_alone(std::string id, std::string tenant,
                                                   int64_t ends_ms) {
  Busy resuming(busy_, id);
  if (!node_.connected()) {
    co_return Error(ErrorCode::unavailable, "the node is not available at the moment; try again");
  }
  std::function<Task<void>()> whoever_asks_stays;
  auto turn = co_await wait_for_turn(tenant, std::move(whoever_asks_stays));
  if (!turn) co_return turn.error();
  auto work = [id, building = limits_.building(tenant)](store::Store& store) {
    return begin_resume(store, id, building);
  };
  auto begun = co_await store_.with_all(std::move(work));
  if (!begun) co_return error_for_user(begun.error(), "record not written");
  SandboxRecord record = std::move(begun.value());
  record.ends_ms = ends_ms;
  json::object body = described_box(record, parse_options(record.options));
  auto identified = co_await secrets_.add_identity(body, record);
  if (!identified) {
    auto failing = not_resumed(std::move(record), identified.error(), false);
    co_return co_await std::move(failing);
  }
  body["checkpoint"] = pause_checkpoint(id, record.pauses);
  auto answer = co_await node_.call("box.create", std::move(body), kNodeCreateDeadline);
  auto started = answer ? read_started(answer.value()) : Result<store::Started>(answer.error());
  if (!started) {
    auto failing = not_resumed(std::move(record), started.error(), answer.has_value());
    co_return co_await std::move(failing);
  }
  auto finishing = has_resumed(std::move(record), std::move(started.value()));
  co_return co_await std::move(finishing);
}

Task<Result<SandboxRecord>> Sandboxes::not_resumed(SandboxRecord record, Error error,
                                                   bool answered) {
  const std::string& id = record.id;
  if (error.code() == ErrorCode::not_found) {
    log_warn("what was kept of a sandbox has gone", {{"sandbox", id}});
    co_await forget(id, "what was kept of it has gone");
    co_return sandbox_not_found(id);
  }
  // An answer that nobody understands says no more than none.
  if (answered || is_ambiguous(error)) {
    co_await settle_now(id);
  } else {
    auto back = co_await store_.move_state(id, SandboxState::resuming, SandboxState::paused);
    if (!back) (void)error_for_user(back.error(), "record not written");
  }
  if (!answered && error.code() == ErrorCode::corrupted) {
    co_return damaged("the kept state of sandbox " + id, error);
  }
  co_return error_for_user(error, "sandbox not resumed");
}

Task<Result<SandboxRecord>> Sandboxes::has_resumed(SandboxRecord record,
                                                   store::Started started) {
  const std::string& id = record.id;
  auto running = co_await store_.set_resumed(id, started, record.ends_ms);
  if (!running && running.error().code() == ErrorCode::not_found) {
    auto destroyed = co_await destroy_box(id, record.tenant, "destroyed while it was resumed");
    if (!destroyed) (void)error_for_user(destroyed.error(), "sandbox not destroyed");
    co_await remove_checkpoints(record);
    co_return sandbox_not_found(id);
  }
  if (!running) co_return error_for_user(running.error(), "record not written");
  auto found = co_await store_.find_sandbox(id);
  if (!found) co_return error_for_user(found.error(), "record not read");
  if (!found.value()) co_return sandbox_not_found(id);
  SandboxRecord now = std::move(*found.value());
  note(id, "resumed");
  events_.changed(now, "resumed");
  if (told_otherwise(record, now)) co_await events_.doubtful(id);
  if (died_resuming_.erase(id)) {
    // Nobody has been told that it runs: what was kept is what there is of it.
    store::Paused kept{record.pauses, record.with_memory, unix_now_ms()};
    auto back = co_await become_paused(id, kept);
    if (!back) (void)error_for_user(back.error(), "record not written");
    co_return Error(ErrorCode::unavailable, "the sandbox ended while it was resumed; try again");
  }
  co_await remove_checkpoint(pause_checkpoint(id, record.pauses), record.tenant);
  co_return now;
}

Task<Result<void>> Sandboxes::destroy_paused(SandboxRecord record) {
  const std::string& id = record.id;
  // What is left at the node when this is cut off here has no owner, and reconcile() removes it.
  auto removed = co_await store_.remove_sandbox(id);
  if (!removed) co_return error_for_user(removed.error(), "record not removed");
  if (removed.value()) events_.gone(id, "destroyed", "");
  clear_traces(id);
  co_await remove_checkpoints(record);
  co_return ok();
}

Task<void> Sandboxes::remove_checkpoints(const SandboxRecord& record) {
  std::string id = record.id, tenant = record.tenant;
  int pauses = record.pauses;
  if (pauses > 0) co_await remove_checkpoint(pause_checkpoint(id, pauses), tenant);
  if (record.state != SandboxState::paused) {
    co_await remove_checkpoint(pause_checkpoint(id, pauses + 1), tenant);
  }
}

Task<void> Sandboxes::remove_checkpoint(std::string checkpoint, std::string tenant,
                                        std::optional<int64_t> created_ms) {
  json::object body;
  body["checkpoint"] = checkpoint;
  body["tenant"] = tenant;
  if (created_ms) body["created_ms"] = *created_ms;
  auto removed = co_await node_.call("checkpoint.remove", std::move(body), kNodeShortDeadline);
  if (removed || removed.error().code() == ErrorCode::not_found) co_return;
  log_info("checkpoint not removed yet",
           {{"checkpoint", checkpoint}, {"error", removed.error().message()}});
}

}  // namespace hako::api
