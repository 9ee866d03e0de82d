// Records and boxes kept in step.
#include <map>

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
  // looked at again, and not a record without its box, which would be removed.
  HAKO_CO_TRY(auto records, co_await store_.all_sandboxes());
  HAKO_CO_TRY(auto boxes, co_await node_.list_boxes());
  std::map<std::string, const NodeBox*> strays;
  for (const NodeBox& box : boxes) strays[box.id] = &box;
  for (const SandboxRecord& record : records) {
    auto box = strays.find(record.id);
    const NodeBox* its_box = box == strays.end() ? nullptr : box->second;
    if (box != strays.end()) strays.erase(box);
    HAKO_CO_TRYV(co_await settle_record(record, its_box));
  }
  for (const auto& [id, box] : strays) {
    HAKO_CO_TRYV(co_await settle_stray(*box));
  }
  co_return ok();
}

Task<Result<void>> Sandboxes::settle_record(const SandboxRecord& record, const NodeBox* box) {
  if (record.state == SandboxState::running) {
    if (!box) {
      co_await forget(record.id, "unknown to the node");
    } else if (box->ends_ms != record.ends_ms) {
      // A crash came between the node's change and ours; the node is the one that enforces it.
      auto current = co_await store_.find_sandbox(record.id);
      bool unchanged = current && current.value() && current.value()->ends_ms == record.ends_ms;
      if (unchanged) (void)co_await store_.set_end(record.id, box->ends_ms);
    }
    co_return ok();
  }
  // Starting, but is anybody still at it? Only the present state tells.
  HAKO_CO_TRY(auto current, co_await store_.find_sandbox(record.id));
  if (!current || current->state != SandboxState::starting || creating_.count(record.id)) {
    co_return ok();
  }
  if (box) {
    HAKO_CO_TRYV(co_await destroy_box(record.id, record.tenant, "create was cut off"));
  }
  co_await forget(record.id, "create was cut off");
  co_return ok();
}

Task<Result<void>> Sandboxes::settle_stray(const NodeBox& box) {
  if (box.started_ms + kStrayAgeMs > unix_now_ms() || creating_.count(box.id)) co_return ok();
  HAKO_CO_TRY(auto current, co_await store_.find_sandbox(box.id));
  if (current) co_return ok();
  json::object fields;
  fields["sandbox"] = box.id;
  log_warn("box without a record destroyed", std::move(fields));
  co_return co_await destroy_box(box.id, "", "no record");
}

}  // namespace hako::api
