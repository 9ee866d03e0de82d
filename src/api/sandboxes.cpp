#include "api/sandboxes.h"

#include <algorithm>

#include "api/admission.h"
#include "api/checkpoints.h"
#include "api/egress_policy.h"
#include "api/egress_usage.h"
#include "api/grants.h"
#include "api/model_terms.h"
#include "api/sandbox_calls.h"
#include "api/scope.h"
#include "api/standing.h"
#include "base/async/run_until.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/random.h"
#include "policy/limits.h"

namespace hako::api {
namespace json = boost::json;
using namespace std::chrono_literals;
using store::SandboxRecord;
using store::SandboxState;

namespace {

constexpr size_t kIdLength = 20;
constexpr size_t kTokenBytes = 20;

int64_t now_ms() {
  return to_unix_ms(WallClock::now());
}

/// Whether it has the form of our ids; anything else need not be looked for, nor repeated to
/// anyone.
bool is_sandbox_id(std::string_view id) {
  auto allowed = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); };
  return id.size() <= 64 && std::all_of(id.begin(), id.end(), allowed);
}

/// Whether its end has passed, and with it the sandbox: what is paused at its end goes on to be.
bool has_ended(const SandboxRecord& record) {
  return record.state == SandboxState::running && record.ends_ms <= now_ms() &&
         !parse_options(record.options).auto_pause;
}

json::object to_object(const TextPairs& pairs) {
  json::object object;
  for (const auto& [key, value] : pairs) object[key] = value;
  return object;
}

policy::CreateFacts asked_of(const CreateRequest& request) {
  policy::CreateFacts asked;
  asked.what = request.what;
  asked.label = request.label;
  asked.memory_mib = request.memory_mib;
  asked.vcpus = request.vcpus;
  // What it does not say it gets from its template.
  if (!asked.memory_mib && request.template_memory_mib > 0) {
    asked.memory_mib = request.template_memory_mib;
  }
  if (!asked.vcpus && request.template_vcpus > 0) asked.vcpus = request.template_vcpus;
  asked.ttl_s = request.timeout.count();
  return asked;
}

}  // namespace

std::string new_token() {
  return random_hex(kTokenBytes);
}

json::object ingress_json(const SandboxRecord& record, const SandboxOptions& options) {
  json::object ingress;
  if (!record.traffic_token.empty()) ingress["traffic_token"] = record.traffic_token;
  json::array grants = ingress_grants(record);
  // Also none: without the list the guest's own token would do.
  bool closed = !record.access_token.empty() || !record.traffic_token.empty();
  if (closed) ingress["grants"] = std::move(grants);
  if (auto mask = options.mask_host(); !mask.empty()) ingress["mask_host"] = mask;
  return ingress;
}

Task<Result<SandboxRecord>> Sandboxes::create(CreateRequest request, Principal who) {
  policy::BoxRequest asked{request.memory_mib, request.vcpus, request.timeout};
  auto decision = policy::may_create(asked, limits_of(config_));
  if (!decision.allowed) co_return refused_field(decision);
  SandboxRecord wanted;
  wanted.tenant = who.tenant;
  wanted.agent = who.agent;
  HAKO_CO_TRY(auto chosen, co_await secrets_.choose(request.secrets, request.options,
                                                    std::move(wanted), who));
  request.options.secrets = std::move(chosen.ids);
  request.label = policy::high_water(request.label, chosen.label);
  auto readable = policy::may_read(who.clearance, request.label);
  if (!readable.allowed) co_return refused_by(readable);
  auto permitted = policy::may_create(who.permission, asked_of(request), now_ms());
  if (!permitted.allowed) co_return refused_by(permitted);
  request.options.made_under =
      both(ceilings_of(who.permission, CeilingsOf::caller), request.made_of_under);
  auto of_tenant = ceilings_of(who.permission, CeilingsOf::tenant);
  HAKO_CO_TRY(auto plan,
              plan_sandbox(config_.egress, request.label, request.options, of_tenant));
  if (!plan.decision.allowed) co_return refused_by(plan.decision);
  HAKO_CO_TRYV(co_await hold_to_traffic_quota(who, plan.policy));
  if (!node_.connected()) {
    co_return Error(ErrorCode::unavailable, "the node is not available at the moment; try again");
  }
  HAKO_CO_TRYV(limits_.may_create(who.tenant, who.quota, std::chrono::steady_clock::now()));

  SandboxRecord record;
  record.id = "i" + random_lower_alphanumeric(kIdLength);
  record.template_name = request.template_id;
  record.alias = request.template_name;
  record.started_ms = now_ms();
  record.ends_ms = record.started_ms + int64_t(request.timeout.count()) * 1000;
  if (!request.metadata.empty()) record.metadata = json::serialize(to_object(request.metadata));
  if (request.label > policy::Label::public_data) {
    // Else whoever reaches the gate could read what only some keys may.
    request.secure = true;
    request.options.network["allowPublicTraffic"] = false;
  }
  if (request.secure) record.access_token = new_token();
  record.key_id = who.key_id;
  record.tenant = who.tenant;
  record.agent = who.agent;
  record.budgets = who.budgets;
  record.label = to_string(request.label);
  request.options.ends_by_ms = latest_end_ms(who, record);
  keep_caveats(request.options.models, who.permission, who.narrowed);
  record.options = write_options(request.options);
  HAKO_CO_TRY(plan.policy.intercept, co_await secrets_.intercepts(record));
  record.egress = write_policy(plan.policy);
  record.vcpus = int(request.vcpus.value_or(request.template_vcpus));
  record.memory_mib = int(request.memory_mib.value_or(request.template_memory_mib));
  record.disk_mib = int(request.template_disk_mib);
  if (!request.options.is_public()) record.traffic_token = new_token();
  Grants grants;
  if (auto grant = grant_for(who, record)) {
    HAKO_CO_TRYV(add_grant(grants, std::move(*grant), record.started_ms));
  }
  record.grants = write_grants(grants);

  Busy creating(busy_, record.id);
  co_return co_await start(std::move(record), std::move(request), std::move(who));
}

Task<Result<SandboxRecord>> Sandboxes::start(SandboxRecord record, CreateRequest request,
                                             Principal who) {
  store::Store::Admission admission = [permission = std::move(who.permission),
                                       quota = who.quota, record,
                                       building = limits_.building(record.tenant)](
                                          const store::Store::InUse& in_use) {
    return admit(permission, quota, record, in_use, building);
  };
  auto added = co_await store_.add_sandbox_if(record, std::move(admission));
  if (!added) co_return error_for_user(added.error(), "record not written");
  // Whoever takes keys away looks at the records that there are.
  auto stands = co_await maker_stands(record);
  if (!stands || !stands.value()) {
    co_await abandon(record, false);
    if (!stands) co_return stands.error();
    co_return Error(ErrorCode::unauthenticated, "the API key is not valid");
  }

  // Behind all that refuses without making anything: what is refused is no create.
  auto counted =
      limits_.count_create(record.tenant, who.quota, std::chrono::steady_clock::now());
  if (!counted) {
    co_await abandon(record, false);
    co_return counted.error();
  }
  if (request.queues) request.queues();
  auto turn = co_await wait_for_turn(record.tenant, request.client_gone);
  if (!turn) {
    co_await abandon(record, false);
    co_return turn.error();
  }
  json::object body = described_box(record, request.options);
  auto identified = co_await secrets_.add_identity(body, record);
  if (!identified) {
    co_await abandon(record, false);
    co_return identified.error();
  }
  const bool of_checkpoint = !request.checkpoint.empty();
  body[of_checkpoint ? "checkpoint" : "template"] =
      of_checkpoint ? request.checkpoint : request.node_template;
  body["envs"] = to_object(request.environment);
  // A checkpoint has its own.
  if (request.memory_mib && !of_checkpoint) body["memory_mib"] = *request.memory_mib;
  if (request.vcpus && !of_checkpoint) body["vcpus"] = *request.vcpus;
  auto answer = co_await node_.call("box.create", std::move(body), kNodeCreateDeadline);
  auto started = answer ? read_started(answer.value()) : Result<store::Started>(answer.error());
  if (!started) {
    ErrorCode code = started.error().code();
    // These the node says before it makes anything.
    bool made_nothing = code == ErrorCode::not_found || code == ErrorCode::invalid_argument ||
                        code == ErrorCode::resource_exhausted ||
                        code == ErrorCode::no_capacity;
    co_await abandon(record, !made_nothing);
    std::string made_of = record.alias.empty() ? record.template_name : record.alias;
    if (code == ErrorCode::not_found) {
      co_return Error(code, (of_checkpoint ? "snapshot " : "template ") + made_of + " not found");
    }
    if (!answer && of_checkpoint && code == ErrorCode::corrupted) {
      co_return damaged("snapshot " + made_of, answer.error());
    }
    co_return error_for_user(started.error(), "sandbox not created");
  }
  auto running = co_await store_.set_running(record.id, started.value());
  if (!running) {
    co_await abandon(record, true);
    if (running.error().code() == ErrorCode::not_found) {
      co_return Error(ErrorCode::unavailable, "the sandbox ended while it was starting");
    }
    co_return error_for_user(running.error(), "record not written");
  }
  record.started_ms = started.value().started_ms;
  take_started(record, started.value());
  events_.made(record);
  co_return record;
}

Task<Result<void>> Sandboxes::hold_to_traffic_quota(const Principal& who,
                                                    policy::EgressPolicy& policy) {
  if (!who.quota.egress_bytes_per_day) co_return ok();
  auto read = [tenant = who.tenant, quota = who.quota](store::TenantStore& store) {
    return traffic_left(store, tenant, quota, now_ms());
  };
  auto left = co_await store_.with_tenants(std::move(read));
  if (!left) co_return error_for_user(left.error(), "traffic not read");
  // No limit of its own to what is left: that would stay when the day is over.
  if (left.value().value_or(0) == 0) policy.layers.push_back(closed_by_quota());
  co_return ok();
}

Task<Result<TenantLimits::Turn>> Sandboxes::wait_for_turn(
    std::string tenant, std::function<Task<void>()> client_gone) {
  auto taking = limits_.take_create(std::move(tenant));
  if (!client_gone) co_return co_await std::move(taking);
  auto gone = client_gone();
  auto turn = co_await run_until(std::move(gone), std::move(taking));
  if (turn) co_return std::move(*turn);
  co_return Error(ErrorCode::cancelled, "the client has gone");
}

Task<Result<bool>> Sandboxes::maker_stands(store::SandboxRecord record) {
  Grants grants = parse_grants(record.grants);
  if (grants.empty()) co_return true;
  auto work = [grant = grants.front(), tenant = record.tenant](store::TenantStore& tenants) {
    return still_stands(tenants, grant, tenant);
  };
  auto stands = co_await store_.with_tenants(std::move(work));
  if (!stands) co_return error_for_user(stands.error(), "key not looked up");
  co_return stands.value();
}

Error damaged(const std::string& what, const Error& error) {
  log_warn("a checkpoint is damaged", {{"what", what}, {"error", error.message()}});
  return Error(ErrorCode::corrupted,
               what + " is damaged: what was kept is not what was written, and it is not used");
}

Task<void> Sandboxes::abandon(const SandboxRecord& record, bool node_may_have_it) {
  std::string id = record.id;
  if (node_may_have_it) {
    auto destroyed = co_await destroy_box(id, record.tenant, "create failed");
    // A node that is away keeps the box; reconcile() finds it without a record.
    if (!destroyed) abandoned_.insert(id);
  }
  auto removed = co_await store_.remove_sandbox(id);
  // The record stays "starting", which nobody is shown, until reconcile() removes it.
  if (!removed) (void)error_for_user(removed.error(), "record not removed");
}

Task<Result<void>> Sandboxes::destroy_box(std::string id, std::string tenant,
                                          std::string reason) {
  json::object body = box_only(id, tenant);
  body["reason"] = reason;
  auto answer = co_await node_.call("box.destroy", std::move(body), kNodeShortDeadline);
  if (!answer && answer.error().code() != ErrorCode::not_found) co_return answer.error();
  co_return ok();
}

Task<Result<SandboxRecord>> Sandboxes::find(std::string id, Principal who) {
  if (!is_sandbox_id(id)) co_return Error(ErrorCode::not_found, "sandbox not found");
  auto found = co_await store_.find_sandbox(id);
  if (!found) co_return error_for_user(found.error(), "record not read");
  const std::optional<SandboxRecord>& record = found.value();
  if (!record || record->state == SandboxState::starting || has_ended(*record)) {
    co_return not_found(id, who);
  }
  if (!may_see(who, *record, now_ms())) co_return sandbox_not_found(id);
  co_return *record;
}

Error Sandboxes::not_found(const std::string& id, const Principal& who) const {
  Error error = sandbox_not_found(id);
  const EndedBoxes::Ended* ended = ended_.find(id);
  if (!ended || !may_see(who, ended->record, now_ms())) return error;
  return Error(ErrorCode::not_found, error.message() + ": " + ended->why);
}

Task<Result<SandboxRecord>> Sandboxes::find_running(std::string id, Principal who) {
  HAKO_CO_TRY(auto record, co_await find(std::move(id), std::move(who)));
  if (record.state != SandboxState::running) co_return wrong_state(record.id, record.state);
  co_return record;
}

Task<Result<void>> Sandboxes::destroy(std::string id, Principal who) {
  HAKO_CO_TRY(auto record, co_await find(id, who));
  if (record.state == SandboxState::paused) co_return co_await destroy_paused(std::move(record));
  auto destroyed = co_await destroy_box(id, record.tenant, "requested");
  if (!destroyed) co_return error_for_user(destroyed.error(), "sandbox not destroyed");
  auto removed = co_await store_.remove_sandbox(id);
  if (!removed) co_return error_for_user(removed.error(), "record not removed");
  if (removed.value()) events_.gone(id, "destroyed", "");
  clear_traces(id);
  // What a pause or a resume that was under way had made.
  if (record.state != SandboxState::running) co_await remove_checkpoints(record);
  co_return ok();
}

Task<Result<void>> Sandboxes::set_timeout(std::string id, Principal who,
                                                std::chrono::seconds ttl) {
  auto decision = policy::may_live(ttl, limits_of(config_));
  if (!decision.allowed) co_return refused_field(decision);
  auto permitted = may_live(who, ttl.count());
  if (!permitted.allowed) co_return refused_by(permitted);
  HAKO_CO_TRY(auto record, co_await find_running(id, who));
  int64_t ends_ms = now_ms() + int64_t(ttl.count()) * 1000;
  if (ends_ms > record.ends_ms) permitted = may_end_at(who, record, ends_ms);
  if (!permitted.allowed) co_return refused_by(permitted);
  co_return co_await move_end(record, ends_ms);
}

Task<Result<SandboxRecord>> Sandboxes::extend(std::string id, Principal who,
                                                    std::chrono::seconds ttl) {
  auto decision = policy::may_live(ttl, limits_of(config_));
  if (!decision.allowed) co_return refused_field(decision);
  auto permitted = may_live(who, ttl.count());
  if (!permitted.allowed) co_return refused_by(permitted);
  HAKO_CO_TRY(auto record, co_await find_running(id, who));
  // Clients ask for some minutes with every look at it: they get what is left.
  int64_t ends_ms =
      std::min(now_ms() + int64_t(ttl.count()) * 1000, latest_end_ms(who, record));
  if (ends_ms > record.ends_ms) {
    HAKO_CO_TRYV(co_await move_end(record, ends_ms));
    record.ends_ms = ends_ms;
  }
  co_return record;
}

Task<Result<void>> Sandboxes::move_end(SandboxRecord record, int64_t ends_ms) {
  const std::string& id = record.id;
  json::object body = box_only(id, record.tenant);
  body["ends_ms"] = ends_ms;
  auto on_end = on_end_json(id, record.pauses, parse_options(record.options));
  if (on_end) body["on_end"] = std::move(*on_end);
  auto answer = co_await node_.call("box.set_end", std::move(body), kNodeShortDeadline);
  if (!answer && answer.error().code() == ErrorCode::not_found) {
    if (co_await is_kept(id, "unknown to the node")) co_return wrong_state(id, SandboxState::paused);
    co_return sandbox_not_found(id);
  }
  if (!answer) co_return error_for_user(answer.error(), "end not moved");
  auto stored = co_await store_.set_end(id, ends_ms);
  if (!stored && stored.error().code() == ErrorCode::not_found) co_return sandbox_not_found(id);
  if (!stored) co_return error_for_user(stored.error(), "record not written");
  note(id, "end moved to " + to_rfc3339(from_unix_ms(ends_ms)));
  co_return ok();
}

void Sandboxes::note(const std::string& id, std::string text) {
  journal_.note(id, now_ms(), std::move(text));
}

void Sandboxes::clear_traces(const std::string& id) {
  journal_.drop(id);
  events_.ended(id);
}

Task<Result<std::string>> Sandboxes::console(std::string id, Principal who) {
  HAKO_CO_TRY(auto record, co_await find(id, who));
  // A console is not kept.
  if (record.state != SandboxState::running) co_return std::string();
  json::object body = box_only(id, record.tenant);
  auto answer = co_await node_.call("box.console", std::move(body), kNodeShortDeadline);
  if (!answer && answer.error().code() == ErrorCode::not_found) co_return sandbox_not_found(id);
  if (!answer) co_return error_for_user(answer.error(), "console not read");
  const json::value* text = answer.value().if_contains("text");
  if (!text || !text->is_string()) {
    Error wrong(ErrorCode::corrupted, "box.console: text must be a string");
    co_return error_for_user(wrong, "console not read");
  }
  co_return std::string(text->get_string());
}

}  // namespace hako::api
