#include "api/egress_control.h"

#include <algorithm>

#include "api/egress_usage.h"
#include "api/grants.h"
#include "api/now.h"
#include "api/tenants.h"
#include "base/clock.h"
#include "base/log.h"
#include "policy/egress_json.h"

namespace hako::api {
namespace json = boost::json;
using namespace std::chrono_literals;
using policy::EgressPolicy;
using policy::Label;
using store::LinkRecord;
using store::LinkStore;
using store::SandboxRecord;

namespace {

/// The gate answers when it has cut what is forbidden.
constexpr auto kEgressDeadline = 15s;

/// Whoever reaches the gate can look into it.
Error open_to_all() {
  auto decision = policy::Decision::deny(
      "label.token",
      "this sandbox has no access token: whoever reaches the gate can read it",
      "make a new sandbox with that label");
  return Error(ErrorCode::failed_precondition, with_rule(decision));
}

/// What comes back by the use of a secret is as confidential as the secret says.
Result<void> label_suffices(const SandboxRecord& record, Label needed) {
  if (needed <= label_of(record.label)) return ok();
  std::string label(policy::to_string(needed));
  auto decision = policy::Decision::deny(
      "secret.label", "a secret that is named is " + label + ", and the sandbox only " + record.label,
      "raise the sandbox's label to " + label);
  return refused_by(decision);
}

/// What was given to those who may not read it any more goes. Whether anybody among them may know
/// the very token of its ports.
bool drop_grants_below(SandboxRecord& record, Label label) {
  Grants grants = parse_grants(record.grants);
  bool ports_known = false;
  std::erase_if(grants, [&](const Grant& grant) {
    bool goes = !policy::may_read(grant.clearance, label).allowed;
    ports_known = ports_known || (goes && is_of_before(grant, record));
    return goes;
  });
  record.grants = write_grants(grants);
  return ports_known;
}

}  // namespace

Task<Result<void>> EgressControl::update_network(std::string id, Principal who, std::string body) {
  auto turn = co_await changes_.take();
  HAKO_CO_TRY(auto record, co_await sandboxes_.find_running(id, who));
  HAKO_CO_TRY(auto change, api::update_network(parse_options(record.options), body));
  // Nobody opens by a change what their own key or token closes.
  change.options.changed_under = ceilings_of(who.permission, CeilingsOf::caller);
  std::vector<std::string> no_names;
  HAKO_CO_TRY(auto chosen, co_await secrets_.choose(std::move(no_names), change.options, record,
                                                    who));
  HAKO_CO_TRYV(label_suffices(record, chosen.label));
  HAKO_CO_TRY(auto of_tenant, co_await ceilings_now(record.tenant));
  HAKO_CO_TRY(auto plan,
              plan_sandbox(platform_, label_of(record.label), change.options, of_tenant));
  // What was granted once and is too much by now is cut down, not held against E2B's clients.
  if (change.in_our_words && !plan.decision.allowed) co_return refused_by(plan.decision);
  HAKO_CO_TRY(auto links, co_await links_of(id));
  add_links(plan.policy, id, links);
  record.options = write_options(change.options);
  HAKO_CO_TRY(plan.policy.intercept, co_await secrets_.intercepts(record));
  HAKO_CO_TRYV(co_await tell_node(record, plan.policy));
  record.egress = write_policy(plan.policy);
  HAKO_CO_TRYV(co_await write(record));
  sandboxes_.note(id, "network rules replaced");
  co_return ok();
}

Task<Result<SandboxRecord>> EgressControl::set_secrets(std::string id, Principal who,
                                                       std::vector<std::string> names) {
  auto turn = co_await changes_.take();
  HAKO_CO_TRY(auto record, co_await sandboxes_.find(id, who));
  SandboxOptions no_rules;
  HAKO_CO_TRY(auto chosen, co_await secrets_.choose(std::move(names), no_rules, record, who));
  HAKO_CO_TRYV(label_suffices(record, chosen.label));
  SandboxOptions options = parse_options(record.options);
  options.secrets = std::move(chosen.ids);
  record.options = write_options(options);
  HAKO_CO_TRY(auto links, co_await links_of(id));
  HAKO_CO_TRY(auto of_tenant, co_await ceilings_now(record.tenant));
  EgressPolicy policy = capped_policy(platform_, label_of(record.label), options, of_tenant);
  add_links(policy, id, links);
  HAKO_CO_TRY(policy.intercept, co_await secrets_.intercepts(record));
  HAKO_CO_TRYV(co_await tell_node(record, policy));
  record.egress = write_policy(policy);
  HAKO_CO_TRYV(co_await write(record));
  sandboxes_.note(id, "secrets replaced");
  co_return record;
}

Task<Result<SandboxRecord>> EgressControl::raise_label(std::string id, Principal who, Label label,
                                                       bool at_least) {
  auto turn = co_await changes_.take();
  HAKO_CO_TRY(auto record, co_await sandboxes_.find_running(id, who));
  Label before = label_of(record.label);
  auto decision = policy::may_relabel(before, label);
  if (!decision.allowed && !at_least) {
    co_return Error(ErrorCode::failed_precondition, with_rule(decision));
  }
  if (label <= before) co_return record;
  // Nor can anybody take a sandbox out of their own sight.
  auto readable = policy::may_read(who.clearance, label);
  if (!readable.allowed) co_return refused_by(readable);
  if (record.access_token.empty()) co_return open_to_all();
  HAKO_CO_TRYV(co_await settle_others(id, record.tenant));

  SandboxOptions options = parse_options(record.options);
  options.network["allowPublicTraffic"] = false;
  bool ports_known = drop_grants_below(record, label);
  if (record.traffic_token.empty() || ports_known) record.traffic_token = new_token();
  record.label = to_string(label);
  record.options = write_options(options);
  // Links from others first: bytes go both ways along them.
  HAKO_CO_TRY(auto links, co_await links_of(id));
  for (const LinkRecord& link : links) {
    if (link.to == id) {
      HAKO_CO_TRYV(co_await settle_without(link));
    }
  }
  HAKO_CO_TRY(auto of_tenant, co_await ceilings_now(record.tenant));
  EgressPolicy policy = capped_policy(platform_, label, options, of_tenant);
  HAKO_CO_TRY(policy.intercept, co_await secrets_.intercepts(record));
  HAKO_CO_TRYV(co_await tell_node(record, policy));
  record.egress = write_policy(policy);
  auto forget_links = [id](LinkStore& store) { return store.remove_links_of(id); };
  auto forgotten = co_await store_.with_links(std::move(forget_links));
  if (!forgotten) co_return error_for_user(forgotten.error(), "links not removed");
  HAKO_CO_TRYV(co_await write(record));
  sandboxes_.note(id, "label raised to " + record.label);
  raised_(record, before, who);
  co_return record;
}

Task<Result<void>> EgressControl::settle(SandboxRecord record, const Links& links) {
  HAKO_CO_TRY(auto of_tenant, co_await ceilings_now(record.tenant));
  EgressPolicy policy =
      capped_policy(platform_, label_of(record.label), parse_options(record.options), of_tenant);
  add_links(policy, record.id, links);
  HAKO_CO_TRY(policy.intercept, co_await secrets_.intercepts(record));
  HAKO_CO_TRYV(co_await tell_node(record, policy));
  std::string written = write_policy(policy);
  if (written == record.egress) {
    doubtful_.erase(record.id);
    co_return ok();
  }
  record.egress = std::move(written);
  co_return co_await write(record);
}

Task<Result<void>> EgressControl::tell_node(const SandboxRecord& record,
                                            const EgressPolicy& policy) {
  std::string id = record.id;
  bool has_machine = record.state == store::SandboxState::running ||
                     record.state == store::SandboxState::pausing;
  if (!has_machine) co_return ok();
  json::object body;
  body["box"] = id;
  body["tenant"] = record.tenant;
  body["egress"] = policy::to_json(policy);
  // Always: a rise that has failed may have left another token there.
  body["ingress"] = ingress_json(record, parse_options(record.options));
  doubtful_[id] = record.tenant;
  auto answer = co_await node_.call("box.egress", std::move(body), kEgressDeadline);
  if (answer) co_return ok();
  if (answer.error().code() != ErrorCode::not_found) {
    co_return error_for_user(answer.error(), "egress not changed");
  }
  doubtful_.erase(id);
  // One that has just been paused goes on with what its record says.
  if (co_await sandboxes_.is_kept(id, "unknown to the node")) co_return ok();
  co_return Error(ErrorCode::not_found, "sandbox " + id + " not found");
}

Task<Result<EgressCeilings>> EgressControl::ceilings_now(std::string tenant) {
  struct Found {
    std::optional<store::TenantRecord> tenant;
    bool used_up = false;
  };
  auto read = [tenant](store::TenantStore& store) -> Result<Found> {
    Found found;
    HAKO_TRY(found.tenant, store.find_tenant(tenant));
    if (!found.tenant) return found;
    // A quota that cannot be read may be a restriction.
    HAKO_TRY(auto quota, read_quota(found.tenant->quota));
    int64_t now_ms = unix_now_ms();
    HAKO_TRY(auto left, traffic_left(store, tenant, quota, now_ms));
    found.used_up = left && *left == 0;
    return found;
  };
  auto found = co_await store_.with_tenants(std::move(read));
  if (!found && found.error().code() != ErrorCode::corrupted) {
    co_return error_for_user(found.error(), "tenant not read");
  }
  if (!found) (void)error_for_user(found.error(), "tenant not read");
  if (!found || !found.value().tenant) co_return ceilings_of_unknown(tenant);
  auto policy = policy_of(*found.value().tenant);
  if (!policy) {
    // It may be a restriction, and what it says is not for this caller.
    (void)error_for_user(policy.error(), "tenant not read");
    co_return ceilings_of_unknown(tenant);
  }
  EgressCeilings ceilings = ceilings_of_tenant(tenant, policy.value());
  if (found.value().used_up) ceilings.layers.push_back(closed_by_quota());
  co_return ceilings;
}

Task<Result<void>> EgressControl::write(const SandboxRecord& record) {
  store::SandboxEgress egress{record.label, record.options, record.egress, record.traffic_token,
                              record.grants};
  std::string id = record.id;
  auto written = co_await store_.set_egress(id, std::move(egress));
  if (written || written.error().code() == ErrorCode::not_found) doubtful_.erase(id);
  if (!written && written.error().code() == ErrorCode::not_found) {
    co_return Error(ErrorCode::not_found, "sandbox " + id + " not found");
  }
  if (!written) co_return error_for_user(written.error(), "record not written");
  written_(record);
  if (record.state == store::SandboxState::running) co_return ok();
  auto found = co_await store_.find_sandbox(id);
  if (!found) co_return error_for_user(found.error(), "record not read");
  if (!found.value() || found.value()->state != store::SandboxState::running) co_return ok();
  HAKO_CO_TRYV(co_await tell_node(*found.value(), read_policy(found.value()->egress)));
  doubtful_.erase(id);
  co_return ok();
}

Task<Result<void>> EgressControl::list_doubtful() {
  if (!all_doubtful_) co_return ok();
  // One that is made meanwhile gets what its record says; a second loss of the node counts again.
  all_doubtful_ = false;
  auto records = co_await store_.all_sandboxes();
  if (!records) {
    all_doubtful_ = true;
    co_return records.error();
  }
  for (const SandboxRecord& record : records.value()) doubtful_[record.id] = record.tenant;
  co_return ok();
}

Task<Result<void>> EgressControl::settle_others(std::string id, std::string tenant) {
  Result<void> settled = co_await list_doubtful();
  // As they are now: settling changes the list.
  auto doubtful = doubtful_;
  for (const auto& [other, its_tenant] : doubtful) {
    if (settled && other != id && its_tenant == tenant) settled = co_await settle_as_recorded(other);
  }
  if (settled) co_return ok();
  log_warn("a label does not rise", {{"sandbox", id}, {"error", settled.error().message()}});
  co_return Error(ErrorCode::unavailable,
                  "what goes out of another sandbox is not settled yet; try again");
}

Task<Result<void>> EgressControl::settle_as_recorded(std::string id) {
  HAKO_CO_TRY(auto record, co_await store_.find_sandbox(id));
  if (!record || record->state == store::SandboxState::starting) {
    doubtful_.erase(id);
    co_return ok();
  }
  HAKO_CO_TRY(auto links, co_await links_of(id));
  auto settled = co_await settle(std::move(*record), links);
  if (!settled && settled.error().code() != ErrorCode::not_found) co_return settled;
  co_return ok();
}

Task<void> EgressControl::push_tenant(std::string tenant) {
  auto records = co_await store_.all_sandboxes();
  if (!records) {
    all_doubtful_ = true;
  } else {
    for (const SandboxRecord& record : records.value()) {
      if (record.tenant == tenant) doubtful_[record.id] = record.tenant;
    }
  }
  co_await push_doubtful();
}

Task<void> EgressControl::push_users_of(store::SecretRecord secret) {
  auto records = co_await store_.all_sandboxes();
  if (!records) {
    all_doubtful_ = true;
  } else {
    for (const SandboxRecord& record : records.value()) {
      if (names_secret(parse_options(record.options), secret)) doubtful_[record.id] = record.tenant;
    }
  }
  co_await push_doubtful();
}

Task<void> EgressControl::push_one(std::string id) {
  auto turn = co_await changes_.take();
  auto settled = co_await settle_as_recorded(id);
  if (settled) co_return;
  log_warn("egress not settled yet", {{"sandbox", id}, {"error", settled.error().message()}});
}

Task<void> EgressControl::push_all() {
  all_doubtful_ = true;
  co_await push_doubtful();
}

Task<void> EgressControl::push_doubtful() {
  Result<void> settled = co_await list_doubtful();
  int failed = 0;
  std::string error = settled ? "" : settled.error().message();
  auto doubtful = doubtful_;
  for (const auto& [id, tenant] : doubtful) {
    auto turn = co_await changes_.take();
    // As it is now that it is its turn.
    settled = co_await settle_as_recorded(id);
    if (settled) continue;
    ++failed;
    error = settled.error().message();
  }
  if (error.empty()) co_return;
  json::object fields;
  fields["sandboxes"] = failed;
  fields["error"] = error;
  log_warn("egress not settled yet", std::move(fields));
}

}  // namespace hako::api
