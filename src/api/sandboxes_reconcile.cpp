// Records and boxes kept in step.
#include <algorithm>
#include <map>
#include <vector>

#include "api/checkpoints.h"
#include "api/sandboxes.h"
#include "api/now.h"
#include "base/log.h"

namespace hako::api {
namespace json = boost::json;
using store::SandboxRecord;
using store::SandboxState;

namespace {

/// A box younger than this may belong to a create that is still under way.
constexpr int64_t kStrayAgeMs = 60'000;
/// Longer than a checkpoint can be under way (kCheckpointDeadline).
constexpr int64_t kLongestMakingMs = 300'000;

/// Empty where whoever asks knows, or the box is not known to have ended by itself.
std::string why_for_user(const std::string& reason, const std::string& detail) {
  if (reason == "out_of_memory") return "it ended out of memory: " + detail;
  // What its VMM has said at the end is for the operator.
  if (reason == "died") return "its machine has ended by itself";
  return "";
}

}  // namespace

Task<void> Sandboxes::forget(std::string id, std::string reason, std::string detail) {
  clear_traces(id);
  std::string why = why_for_user(reason, detail);
  if (!why.empty()) {
    auto record = co_await store_.find_sandbox(id);
    if (record && record.value()) ended_.note(std::move(*record.value()), std::move(why));
  }
  auto removed = co_await store_.remove_sandbox(id);
  if (!removed) {
    (void)error_for_user(removed.error(), "record not removed");
  } else if (removed.value()) {
    json::object fields;
    fields["sandbox"] = id;
    fields["reason"] = reason;
    if (!detail.empty()) fields["detail"] = detail;
    log_info("sandbox ended", std::move(fields));
    events_.gone(id, reason, detail);
  }
}

Task<void> Sandboxes::reconcile() {
  auto done = co_await reconcile_once();
  if (!done) {
    json::object fields;
    fields["error"] = done.error().message();
    log_warn("reconcile failed", std::move(fields));
  }
}

Task<Result<void>> Sandboxes::reconcile_once() {
  // Records before boxes: a sandbox that starts in between is then a box without a record, which is
  // looked at again, and not a record without its box, which would be removed. Boxes before
  // checkpoints: one that is paused in between is there as either.
  HAKO_CO_TRY(auto records, co_await store_.all_sandboxes());
  HAKO_CO_TRY(auto boxes, co_await node_.list_boxes());
  HAKO_CO_TRY(auto kept, co_await list_kept());
  std::map<std::string, const NodeBox*> strays;
  for (const NodeBox& box : boxes) strays[box.id] = &box;
  for (const SandboxRecord& record : records) {
    auto box = strays.find(record.id);
    const NodeBox* its_box = box == strays.end() ? nullptr : box->second;
    if (box != strays.end()) strays.erase(box);
    HAKO_CO_TRYV(co_await settle_record(record, its_box, kept));
  }
  for (const auto& [id, box] : strays) {
    HAKO_CO_TRYV(co_await settle_stray(*box));
  }
  abandoned_.clear();
  if (!kept) co_return ok();
  HAKO_CO_TRYV(co_await settle_snapshots(*kept));
  co_return co_await remove_orphans(*kept);
}

/// Nothing for a node that keeps none.
Task<Result<std::optional<Sandboxes::Kept>>> Sandboxes::list_kept() {
  auto checkpoints = co_await node_.list_checkpoints();
  std::optional<Kept> kept;
  if (!checkpoints && checkpoints.error().code() == ErrorCode::unsupported) co_return kept;
  if (!checkpoints) co_return checkpoints.error();
  kept.emplace();
  for (NodeCheckpoint& each : checkpoints.value()) kept->emplace(each.id, std::move(each));
  co_return kept;
}

Task<Result<void>> Sandboxes::settle_record(const SandboxRecord& record, const NodeBox* box,
                                            const std::optional<Kept>& kept) {
  if (record.state == SandboxState::running && box) {
    if (box->ends_ms != record.ends_ms) {
      // A crash came between the node's change and ours; the node is the one that enforces it.
      auto current = co_await store_.find_sandbox(record.id);
      bool unchanged = current && current.value() && current.value()->ends_ms == record.ends_ms;
      if (unchanged) (void)co_await store_.set_end(record.id, box->ends_ms);
    }
    co_return ok();
  }
  if (record.state != SandboxState::starting) {
    // Whoever is at it knows better.
    if (busy_.count(record.id)) co_return ok();
    if (kept) co_return co_await settle_pause(record, box, *kept);
    if (record.state == SandboxState::running) co_await forget(record.id, "unknown to the node");
    co_return ok();
  }
  // Starting, but is anybody still at it? Only the present state tells.
  HAKO_CO_TRY(auto current, co_await store_.find_sandbox(record.id));
  if (!current || current->state != SandboxState::starting || busy_.count(record.id)) {
    co_return ok();
  }
  if (box) {
    HAKO_CO_TRYV(co_await destroy_box(record.id, record.tenant, "create was cut off"));
  }
  co_await forget(record.id, "create was cut off");
  co_return ok();
}

/// `record` is older than what the node has said: only one that is still so is what that was about.
Task<Result<void>> Sandboxes::settle_pause(const SandboxRecord& record, const NodeBox* box,
                                           const Kept& kept) {
  std::string id = record.id;
  HAKO_CO_TRY(auto current, co_await store_.find_sandbox(id));
  bool unchanged =
      current && current->state == record.state && current->pauses == record.pauses;
  if (!unchanged) co_return ok();
  bool is_up = record.state == SandboxState::running || record.state == SandboxState::pausing;
  if (!box) {
    // A running one may have come to its end with nobody there to be told; and in the middle of a
    // pause or a resume it is in one of two, or it is no more.
    auto next = kept.find(pause_checkpoint(id, record.pauses + 1));
    if (is_up && next != kept.end()) {
      store::Paused paused{record.pauses + 1, next->second.with_memory, next->second.created_ms};
      co_return co_await become_paused(id, paused);
    }
    // What it was resumed from goes before the answer that it runs: of this one nobody was told.
    auto last = kept.find(pause_checkpoint(id, record.pauses));
    if (is_up && last != kept.end() && record.ends_ms > unix_now_ms()) {
      store::Paused again{record.pauses, last->second.with_memory, last->second.created_ms};
      co_return co_await become_paused(id, again);
    }
    if (is_up) {
      co_await forget(id, "unknown to the node");
      co_return ok();
    }
    if (kept.count(pause_checkpoint(id, record.pauses)) == 0) {
      co_await forget(id, "what was kept of it has gone");
      co_return ok();
    }
    if (record.state == SandboxState::paused) co_return ok();
    co_return co_await store_.move_state(id, SandboxState::resuming, SandboxState::paused);
  }
  if (record.state == SandboxState::running) co_return ok();
  if (record.state == SandboxState::pausing) {
    // Should the node be at it still, the box will be missed, and its state be found.
    co_return co_await store_.move_state(id, SandboxState::pausing, SandboxState::running);
  }
  // It runs: whoever reached it since may have been told so, and what was kept is older.
  if (record.state == SandboxState::paused) {
    HAKO_CO_TRYV(co_await store_.move_state(id, SandboxState::paused, SandboxState::resuming));
  }
  store::Started started{record.started_ms, box->vcpus, box->memory_mib, box->disk_mib,
                         box->isolation};
  HAKO_CO_TRYV(co_await store_.set_resumed(id, started, box->ends_ms));
  note(id, "resumed");
  HAKO_CO_TRY(auto now, co_await store_.find_sandbox(id));
  if (now) events_.changed(*now, "resumed");
  co_await events_.doubtful(id);
  co_return ok();
}

Task<Result<void>> Sandboxes::settle_snapshots(const Kept& kept) {
  auto list = [](store::SnapshotStore& snapshots) { return snapshots.all_snapshots(""); };
  HAKO_CO_TRY(auto snapshots, co_await store_.with_snapshots(std::move(list)));
  int64_t oldest_ms = to_unix_ms(WallClock::now()) - kLongestMakingMs;
  for (const store::SnapshotRecord& each : snapshots) {
    bool making = each.state == store::SnapshotState::making;
    // One that is made now is not in the list yet; of one that was cut off nobody was told.
    if (making ? each.created_ms > oldest_ms : kept.count(each.id) != 0) continue;
    // One that was made since the node was asked is there.
    if (!making && each.created_ms > oldest_ms) continue;
    log_warn(making ? "a snapshot was cut off" : "a snapshot has gone", {{"snapshot", each.id}});
    auto remove = [id = each.id](store::SnapshotStore& store) { return store.remove_snapshot(id); };
    HAKO_CO_TRY(bool removed, co_await store_.with_snapshots(std::move(remove)));
    (void)removed;
  }
  co_return ok();
}

/// A record is written before the node is asked for a checkpoint: one that is listed and of which no
/// record knows now has no owner.
Task<Result<void>> Sandboxes::remove_orphans(const Kept& kept) {
  std::vector<std::pair<std::string, const NodeCheckpoint*>> beside_boxes;
  for (const auto& [name, checkpoint] : kept) {
    bool wanted = false;
    if (auto pause = parse_pause_checkpoint(name)) {
      // Whoever is at it knows better.
      if (busy_.count(pause->sandbox)) continue;
      HAKO_CO_TRY(auto record, co_await store_.find_sandbox(pause->sandbox));
      bool is_in_it = record && (record->state == SandboxState::paused ||
                                 record->state == SandboxState::resuming);
      wanted = is_in_it && pause->pauses == record->pauses;
      // The next one, in which it may be just now.
      if (record && pause->pauses > record->pauses) {
        wanted = true;
        if (record->state == SandboxState::running)
          beside_boxes.emplace_back(pause->sandbox, &checkpoint);
      }
    } else {
      auto find = [id = name](store::SnapshotStore& store) { return store.find_snapshot(id); };
      HAKO_CO_TRY(auto snapshot, co_await store_.with_snapshots(std::move(find)));
      wanted = snapshot.has_value();
    }
    if (!wanted) co_await remove_orphan(checkpoint);
  }
  if (beside_boxes.empty()) co_return ok();
  // With a pause that is on disk its box has ended: of one that is there still, a crash came in
  // between.
  HAKO_CO_TRY(auto boxes, co_await node_.list_boxes());
  for (const auto& [id, checkpoint] : beside_boxes) {
    bool runs = std::any_of(boxes.begin(), boxes.end(),
                            [&](const NodeBox& box) { return box.id == id; });
    if (runs && !busy_.count(id)) co_await remove_orphan(*checkpoint);
  }
  co_return ok();
}

Task<void> Sandboxes::remove_orphan(const NodeCheckpoint& checkpoint) {
  log_info("checkpoint without an owner removed", {{"checkpoint", checkpoint.id}});
  // And not another that has taken its place since it was listed.
  co_await remove_checkpoint(checkpoint.id, checkpoint.tenant, checkpoint.created_ms);
}

Task<Result<void>> Sandboxes::settle_stray(const NodeBox& box) {
  bool is_old = box.started_ms + kStrayAgeMs <= unix_now_ms() || abandoned_.count(box.id);
  if (!is_old || busy_.count(box.id)) co_return ok();
  HAKO_CO_TRY(auto current, co_await store_.find_sandbox(box.id));
  if (current) co_return ok();
  json::object fields;
  fields["sandbox"] = box.id;
  log_warn("box without a record destroyed", std::move(fields));
  co_return co_await destroy_box(box.id, "", "no record");
}

}  // namespace hako::api
