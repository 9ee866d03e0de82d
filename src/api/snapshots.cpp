#include "api/snapshots.h"

#include <algorithm>

#include "api/admission.h"
#include "api/checkpoints.h"
#include "api/egress_policy.h"
#include "api/field_reader.h"
#include "api/now.h"
#include "api/sandbox_calls.h"
#include "api/scope.h"
#include "api/template_names.h"
#include "api/tenants.h"
#include "api/walls.h"
#include "base/clock.h"
#include "base/log.h"

namespace hako::api {
namespace json = boost::json;
using store::SnapshotRecord;
using store::SnapshotState;

namespace {

Error no_snapshot(const std::string& reference) {
  return Error(ErrorCode::not_found, "snapshot '" + reference + "' not found");
}

bool may_use(const Principal& who, const SnapshotRecord& record) {
  if (!stands(Wall::templates)) return true;
  return policy::may_read(who.permission, facts_of(record), unix_now_ms()).allowed;
}

/// Its sandbox may be no more: this asks as if it were there.
bool may_see_source(const Principal& who, const SnapshotRecord& record) {
  policy::BoxFacts source{record.tenant, record.agent, record.sandbox, label_of(record.label)};
  return policy::may_see(who.permission, source, unix_now_ms()).allowed;
}

bool has_name(const SnapshotRecord& record, const std::string& name) {
  return record.name == name || record.name.substr(0, record.name.rfind(':')) == name;
}

/// Whether the name is free for a new snapshot of `who`. Templates come first where a name is meant.
Result<void> check_name(store::Store& store, const std::string& name, const Principal& who) {
  if (name.empty()) return ok();
  std::string plain = name.substr(0, name.rfind(':'));
  HAKO_TRY(auto what, store.templates().find_template(who.tenant, plain));
  HAKO_TRY(auto other, store.snapshots().find_snapshot_named(who.tenant, name));
  bool of_template = what && what->tenant == who.tenant;
  bool of_others =
      other && !policy::may_change(who.permission, facts_of(*other), unix_now_ms()).allowed;
  if (of_template || of_others) {
    return Error(ErrorCode::already_exists, "the name " + plain + " is taken");
  }
  return ok();
}

Result<int64_t> read_bytes(const json::object& body) {
  FieldReader reader(body, "box.checkpoint: ");
  int64_t bytes = reader.number("bytes", 0, INT64_MAX).value_or(0);
  auto outcome = reader.outcome();
  if (!outcome) return Error(ErrorCode::corrupted, outcome.error().message());
  return bytes;
}

}  // namespace

policy::TemplateFacts facts_of(const SnapshotRecord& record) {
  std::string name = record.name.substr(0, record.name.rfind(':'));
  return {record.tenant, record.agent, record.id, name, label_of(record.label), false};
}

ResolvedTemplate resolved(const SnapshotRecord& record) {
  policy::TemplateFacts facts = facts_of(record);
  return {record.id, facts.name, "", facts.label, facts};
}

json::object snapshot_json(const SnapshotRecord& record) {
  json::object object;
  object["snapshotID"] = record.id;
  json::array names;
  if (!record.name.empty()) names.emplace_back(record.name);
  object["names"] = std::move(names);
  object["sandboxID"] = record.sandbox;
  object["label"] = record.label;
  object["createdAt"] = to_rfc3339(from_unix_ms(record.created_ms));
  object["cpuCount"] = record.vcpus;
  object["memoryMB"] = record.memory_mib;
  object["diskSizeMB"] = record.disk_mib;
  object["sizeBytes"] = record.bytes;
  return object;
}

Task<Result<SnapshotRecord>> Snapshots::take(std::string sandbox, Principal who,
                                             std::string name) {
  HAKO_CO_TRY(auto box, co_await sandboxes_.find_running(sandbox, who));
  std::string plain = name.substr(0, name.rfind(':'));
  if (is_pulled_name(plain) || plain == config_.default_template || is_snapshot_id(plain)) {
    co_return Error(ErrorCode::failed_precondition, "the name " + plain + " is reserved");
  }
  SnapshotRecord record;
  record.id = new_snapshot_id();
  record.sandbox = box.id;
  record.template_name = box.template_name;
  record.alias = box.alias;
  record.tenant = box.tenant;
  record.agent = box.agent;
  record.key_id = who.key_id;
  record.label = box.label;
  record.options = box.options;
  record.vcpus = box.vcpus;
  record.memory_mib = box.memory_mib;
  record.disk_mib = box.disk_mib;
  record.created_ms = unix_now_ms();
  auto work = [record, name, who](store::Store& store) -> Result<void> {
    HAKO_TRYV(check_name(store, name, who));
    HAKO_TRY(auto tenant, store.tenants().find_tenant(record.tenant));
    HAKO_TRY(auto quota, read_quota(tenant ? tenant->quota : std::string()));
    HAKO_TRY(auto used, store.tenants().usage_of(record.tenant));
    HAKO_TRYV(admit_snapshot(quota, used, record.disk_mib));
    return store.snapshots().add_snapshot(record);
  };
  auto added = co_await store_.with_all(std::move(work));
  if (!added) co_return error_for_user(added.error(), "snapshot not written");

  json::object body = box_only(box.id, box.tenant);
  body["checkpoint"] = record.id;
  body["memory"] = true;
  body["then"] = "run";
  auto answer = co_await node_.call("box.checkpoint", std::move(body), kCheckpointDeadline);
  auto bytes = answer ? read_bytes(answer.value()) : Result<int64_t>(answer.error());
  if (!bytes) {
    co_await drop(record);
    if (answer || bytes.error().code() != ErrorCode::not_found) {
      co_return error_for_user(bytes.error(), "snapshot not taken");
    }
    if (co_await sandboxes_.is_kept(box.id, "unknown to the node")) {
      co_return wrong_state(box.id, store::SandboxState::paused);
    }
    co_return sandbox_not_found(box.id);
  }
  auto finishing = finish(std::move(record), std::move(name), bytes.value());
  co_return co_await std::move(finishing);
}

/// A label only rises, and does so before what it is about goes in: that of now covers what is in the
/// snapshot.
Task<Result<SnapshotRecord>> Snapshots::finish(SnapshotRecord record, std::string name,
                                               int64_t bytes) {
  auto work = [record, name, bytes](store::Store& store) -> Result<SnapshotRecord> {
    HAKO_TRY(auto box, store.find_sandbox(record.sandbox));
    if (!box) {
      return Error(ErrorCode::unavailable,
                   "sandbox " + record.sandbox + " was destroyed while its snapshot was taken");
    }
    store::SnapshotMade made{name, box->label, bytes};
    HAKO_TRYV(store.snapshots().set_snapshot_ready(record.id, made));
    HAKO_TRY(auto written, store.snapshots().find_snapshot(record.id));
    if (!written) return no_snapshot(record.id);
    return *written;
  };
  auto written = co_await store_.with_all(std::move(work));
  if (written) {
    sandboxes_.note(record.sandbox, "snapshot " + record.id + " taken");
    co_return std::move(written);
  }
  co_await drop(record);
  if (written.error().code() == ErrorCode::unavailable) co_return written.error();
  co_return error_for_user(written.error(), "snapshot not written");
}

/// What stays at the node when this fails has no record, and is removed as such.
Task<void> Snapshots::drop(const SnapshotRecord& record) {
  std::string id = record.id, tenant = record.tenant;
  auto remove = [id](store::SnapshotStore& store) { return store.remove_snapshot(id); };
  auto removed = co_await store_.with_snapshots(std::move(remove));
  if (!removed) (void)error_for_user(removed.error(), "snapshot not removed");
  json::object body;
  body["checkpoint"] = id;
  body["tenant"] = tenant;
  auto gone = co_await node_.call("checkpoint.remove", std::move(body), kNodeShortDeadline);
  if (gone || gone.error().code() == ErrorCode::not_found) co_return;
  log_info("checkpoint not removed yet", {{"checkpoint", id}, {"error", gone.error().message()}});
}

Task<Result<std::vector<SnapshotRecord>>> Snapshots::list(SnapshotQuery query, Principal who) {
  auto read = [tenant = who.tenant](store::SnapshotStore& store) {
    return store.all_snapshots(tenant);
  };
  auto all = co_await store_.with_snapshots(std::move(read));
  if (!all) co_return error_for_user(all.error(), "snapshots not read");
  std::erase_if(all.value(), [&](const SnapshotRecord& each) {
    bool seen = may_use(who, each) || may_see_source(who, each);
    bool wanted = (query.sandbox.empty() || each.sandbox == query.sandbox) &&
                  (query.name.empty() || has_name(each, query.name));
    return each.state != SnapshotState::ready || !seen || !wanted;
  });
  co_return std::move(all);
}

Task<Result<std::optional<SnapshotRecord>>> Snapshots::look_up(std::string reference,
                                                               std::string tenant) {
  std::optional<SnapshotRecord> none;
  auto parsed = parse_template_reference(reference);
  if (!parsed) co_return none;
  std::string name = parsed.value().name;
  std::string tag = parsed.value().tag.value_or(std::string(kDefaultTag));
  auto find = [name, tag, tenant](store::SnapshotStore& store) {
    // An id has no tags but the one that E2B's clients put behind it.
    if (is_snapshot_id(name) && tag == kDefaultTag) return store.find_snapshot(name);
    return store.find_snapshot_named(tenant, name + ":" + tag);
  };
  auto found = co_await store_.with_snapshots(std::move(find));
  if (!found) co_return error_for_user(found.error(), "snapshots not read");
  if (!found.value() || found.value()->tenant != tenant) co_return none;
  if (found.value()->state != SnapshotState::ready) co_return none;
  co_return std::move(found);
}

Task<Result<std::optional<SnapshotRecord>>> Snapshots::find_for_create(std::string reference,
                                                                       Principal who) {
  HAKO_CO_TRY(auto found, co_await look_up(reference, who.tenant));
  if (found && !may_use(who, *found)) found.reset();
  co_return found;
}

Task<Result<SnapshotRecord>> Snapshots::find_of(std::string reference,
                                                store::SandboxRecord sandbox) {
  HAKO_CO_TRY(auto found, co_await look_up(reference, sandbox.tenant));
  if (!found || found->sandbox != sandbox.id) co_return no_snapshot(reference);
  co_return *found;
}

Task<Result<bool>> Snapshots::remove(std::string reference, Principal who) {
  HAKO_CO_TRY(auto found, co_await look_up(reference, who.tenant));
  if (!found || !may_use(who, *found)) co_return false;
  auto decision = policy::may_change(who.permission, facts_of(*found), unix_now_ms());
  if (!decision.allowed) co_return refused_by(decision);
  co_await drop(*found);
  co_return true;
}

}  // namespace hako::api
