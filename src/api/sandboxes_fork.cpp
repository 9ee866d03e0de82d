// Sandboxes that go on from where another one is, and ones that go back.
#include <algorithm>

#include "api/admission.h"
#include "api/egress_policy.h"
#include "api/grants.h"
#include "api/model_terms.h"
#include "api/now.h"
#include "api/sandbox_calls.h"
#include "api/sandboxes.h"
#include "api/scope.h"
#include "base/log.h"
#include "base/random.h"
#include "policy/egress_json.h"
#include "rpc/agreed.h"

namespace hako::api {
namespace json = boost::json;
using store::SandboxRecord;
using store::SandboxState;

namespace {

constexpr size_t kChildIdLength = 20;

/// What a child is made of, for whoever may make boxes only of some templates: what its parent was.
policy::CreateFacts facts_of_fork(const SandboxRecord& parent, std::chrono::seconds ttl) {
  policy::CreateFacts asked;
  asked.what = {parent.tenant, parent.agent, parent.template_name, parent.alias,
                label_of(parent.label), false};
  if (asked.what.name.empty()) asked.what.name = parent.template_name;
  asked.label = label_of(parent.label);
  asked.memory_mib = parent.memory_mib;
  asked.vcpus = parent.vcpus;
  asked.ttl_s = ttl.count();
  return asked;
}

/// A sandbox of its own in all that is not the parent's data.
SandboxRecord child_of(const SandboxRecord& parent, const SandboxOptions& options,
                       const Principal& who, std::chrono::seconds ttl) {
  SandboxRecord child = parent;
  child.id = "i" + random_lower_alphanumeric(kChildIdLength);
  child.state = SandboxState::starting;
  child.started_ms = unix_now_ms();
  child.ends_ms = child.started_ms + int64_t(ttl.count()) * 1000;
  child.pauses = 0;
  child.with_memory = true;
  child.key_id = who.key_id;
  child.budgets = who.budgets;
  child.grants.clear();
  if (!parent.access_token.empty()) child.access_token = new_token();
  if (!parent.traffic_token.empty()) child.traffic_token = new_token();
  SandboxOptions of_child = options;
  of_child.timeout_s = ttl.count();
  keep_caveats(of_child.models, who.permission, who.narrowed);
  of_child.ends_by_ms = std::min(options.ends_by_ms, latest_end_ms(who, child));
  child.options = write_options(of_child);
  return child;
}

Error nobody_knows_the_label(const std::string& id) {
  return Error(ErrorCode::unavailable, "sandbox " + id +
                                           " got a higher label, or was destroyed, while it was"
                                           " copied; try again");
}

}  // namespace

Task<Result<Children>> Sandboxes::fork(std::string id, Principal who, ForkRequest request) {
  auto decision = policy::may_live(request.timeout, limits_of(config_));
  if (!decision.allowed) co_return refused_field(decision);
  HAKO_CO_TRY(auto parent, co_await find_running(id, who));
  auto permitted = policy::may_create(who.permission, facts_of_fork(parent, request.timeout),
                                      unix_now_ms());
  if (!permitted.allowed) co_return refused_by(permitted);
  SandboxOptions options = parse_options(parent.options);
  options.made_under = both(options.made_under, ceilings_of(who.permission, CeilingsOf::caller));
  auto of_tenant = ceilings_of(who.permission, CeilingsOf::tenant);
  // What was granted to the parent once, as far as it is allowed now.
  policy::EgressPolicy egress =
      capped_policy(config_.egress, label_of(parent.label), options, of_tenant);
  HAKO_CO_TRYV(co_await hold_to_traffic_quota(who, egress));
  if (!node_.connected()) {
    co_return Error(ErrorCode::unavailable, "the node is not available at the moment; try again");
  }

  Children children;
  std::vector<std::unique_ptr<Busy>> forking;
  std::vector<size_t> admitted;  // positions in `children`
  for (int i = 0; i < request.count; ++i) {
    SandboxRecord child = child_of(parent, options, who, request.timeout);
    // By its own id: what was granted to the parent alone is not granted to it.
    HAKO_CO_TRY(egress.intercept, co_await secrets_.intercepts(child));
    child.egress = write_policy(egress);
    forking.push_back(std::make_unique<Busy>(busy_, child.id));
    auto admitting = admit_child(std::move(child), who);
    children.push_back(co_await std::move(admitting));
    if (children.back()) admitted.push_back(children.size() - 1);
  }
  if (admitted.empty()) co_return children;

  if (request.queues) request.queues();
  auto turn = co_await wait_for_turn(parent.tenant, request.client_gone);
  json::object body = box_only(id, parent.tenant);
  json::array asked;
  std::optional<Error> unidentified;
  for (size_t at : admitted) {
    const SandboxRecord& child = children[at].value();
    json::object one = described_box(child, parse_options(child.options));
    auto identified = co_await secrets_.add_identity(one, child);
    if (!identified) unidentified = identified.error();
    one.erase("tenant");
    asked.push_back(std::move(one));
  }
  body["children"] = std::move(asked);
  // Should it reach less by then, what was put in since must not be where the children reach more.
  body["egress"] = policy::to_json(read_policy(parent.egress));
  if (unidentified) {
    for (size_t at : admitted) co_await abandon(children[at].value(), false);
    co_return *unidentified;
  }
  Result<json::object> answer = Error(ErrorCode::cancelled, "no turn");
  if (!turn) answer = turn.error();
  if (turn) {
    auto deadline = kNodeCreateDeadline + rpc::kTimeForEachChild * request.count;
    answer = co_await node_.call("box.fork", std::move(body), deadline);
  }
  const json::value* list = answer ? answer.value().if_contains("children") : nullptr;
  bool whole = list && list->is_array() && list->get_array().size() == admitted.size();
  if (!answer && turn && answer.error().code() == ErrorCode::not_found) {
    for (size_t at : admitted) co_await abandon(children[at].value(), false);
    if (co_await is_kept(id, "unknown to the node")) co_return wrong_state(id, SandboxState::paused);
    co_return sandbox_not_found(id);
  }
  for (size_t i = 0; i < admitted.size(); ++i) {
    Result<store::Started> started = Error(ErrorCode::corrupted, "box.fork: no list of children");
    if (whole) started = read_child(list->get_array()[i]);
    if (!answer) started = answer.error();
    SandboxRecord child = std::move(children[admitted[i]].value());
    auto taking = take_child(std::move(child), std::move(started));
    children[admitted[i]] = co_await std::move(taking);
  }

  // What was put in under a higher label before the copy was taken may be in the children.
  auto now = co_await store_.find_sandbox(id);
  bool same_label = now && now.value() && now.value()->label == parent.label;
  for (size_t at : admitted) {
    if (same_label || !children[at]) continue;
    co_await abandon(children[at].value(), true);
    children[at] = nobody_knows_the_label(id);
  }
  for (Result<SandboxRecord>& child : children) {
    if (!child) continue;
    events_.made(child.value());
    events_.changed(child.value(), "forked");
  }
  note(id, "forked into " + std::to_string(request.count));
  co_return children;
}

Task<Result<SandboxRecord>> Sandboxes::admit_child(SandboxRecord child, Principal who) {
  HAKO_CO_TRYV(limits_.may_create(who.tenant, who.quota, std::chrono::steady_clock::now()));
  Grants grants;
  if (auto grant = grant_for(who, child)) {
    HAKO_CO_TRYV(add_grant(grants, std::move(*grant), child.started_ms));
  }
  child.grants = write_grants(grants);
  store::Store::Admission admission = [permission = who.permission, quota = who.quota, child,
                                       building = limits_.building(child.tenant)](
                                          const store::Store::InUse& in_use) {
    return admit(permission, quota, child, in_use, building);
  };
  auto added = co_await store_.add_sandbox_if(child, std::move(admission));
  if (!added) co_return error_for_user(added.error(), "record not written");
  auto stands = co_await maker_stands(child);
  auto counted = limits_.count_create(child.tenant, who.quota, std::chrono::steady_clock::now());
  if (stands && stands.value() && counted) co_return child;
  co_await abandon(child, false);
  if (!stands) co_return stands.error();
  if (!counted) co_return counted.error();
  co_return Error(ErrorCode::unauthenticated, "the API key is not valid");
}

Task<Result<SandboxRecord>> Sandboxes::take_child(SandboxRecord child,
                                                  Result<store::Started> started) {
  if (!started) {
    // Those that say so themselves are no more; of others nobody knows.
    bool unknown = is_ambiguous(started.error()) || started.error().code() == ErrorCode::corrupted;
    co_await abandon(child, unknown);
    co_return error_for_user(started.error(), "sandbox not forked");
  }
  auto running = co_await store_.set_running(child.id, started.value());
  if (!running) {
    co_await abandon(child, true);
    if (running.error().code() == ErrorCode::not_found) {
      co_return Error(ErrorCode::unavailable, "the sandbox ended while it was starting");
    }
    co_return error_for_user(running.error(), "record not written");
  }
  child.started_ms = started.value().started_ms;
  take_started(child, started.value());
  co_return child;
}

Task<Result<SandboxRecord>> Sandboxes::rollback(std::string id, Principal who,
                                                std::string checkpoint) {
  HAKO_CO_TRY(auto record, co_await find_running(id, who));
  Busy rolling(busy_, id);
  json::object body = box_only(id, record.tenant);
  body["checkpoint"] = checkpoint;
  HAKO_CO_TRYV(co_await secrets_.add_identity(body, record));
  auto answer = co_await node_.call("box.rollback", std::move(body), kNodeCreateDeadline);
  if (!answer && answer.error().code() == ErrorCode::not_found) {
    auto boxes = co_await node_.list_boxes();
    bool runs = boxes && std::any_of(boxes.value().begin(), boxes.value().end(),
                                     [&](const NodeBox& box) { return box.id == id; });
    if (runs) co_return Error(ErrorCode::not_found, "snapshot " + checkpoint + " not found");
    if (co_await is_kept(id, "unknown to the node")) co_return wrong_state(id, SandboxState::paused);
    co_return sandbox_not_found(id);
  }
  if (!answer && answer.error().code() == ErrorCode::corrupted) {
    co_return damaged("snapshot " + checkpoint, answer.error());
  }
  if (!answer) co_return error_for_user(answer.error(), "sandbox not rolled back");
  note(id, "rolled back to " + checkpoint);
  events_.changed(record, "rolled_back");
  co_return record;
}

}  // namespace hako::api
