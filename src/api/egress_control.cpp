#include "api/egress_control.h"

#include <algorithm>
#include <set>

#include "base/clock.h"
#include "base/log.h"
#include "base/random.h"
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
constexpr size_t kLinkIdLength = 20;
constexpr size_t kLongestSandboxId = 64;
constexpr size_t kLongestLinkName = 253;
using policy::kLinkSuffix;

int64_t now() {
  return to_unix_ms(WallClock::now());
}

/// The same rule as for names of any kind, of which the last label is "box".
bool is_link_name(std::string_view name) {
  if (name.size() <= kLinkSuffix.size() || !name.ends_with(kLinkSuffix)) return false;
  auto target = policy::parse_target(name);
  return target && target.value().kind == policy::Target::Kind::name &&
         target.value().name == name && target.value().ports.empty();
}

/// Rises are refused where the present token might be in the wrong hands.
Error token_at_large(std::string why) {
  auto decision = policy::Decision::deny("label.token", std::move(why),
                                         "make a new sandbox with that label");
  return Error(ErrorCode::failed_precondition, with_rule(decision));
}

Error link_not_found(const std::string& id) {
  return Error(ErrorCode::not_found, "link " + id.substr(0, kLongestSandboxId) + " not found");
}

}  // namespace

Result<LinkRequest> parse_link(std::string_view body) {
  HAKO_TRY(auto object, parse_body(body));
  FieldReader reader(object);
  LinkRequest request;
  request.from = reader.text("from", kLongestSandboxId).value_or("");
  request.to = reader.text("to", kLongestSandboxId).value_or("");
  auto port = reader.number("port", 1, UINT16_MAX);
  request.name = reader.text("name", kLongestLinkName).value_or("");
  if (request.from.empty()) reader.fail("from", "is required");
  if (request.to.empty()) reader.fail("to", "is required");
  if (!port) reader.fail("port", "is required");
  if (request.from == request.to) reader.fail("to", "must be another sandbox than from");
  if (request.name.empty()) request.name = request.to + std::string(kLinkSuffix);
  if (!is_link_name(request.name)) {
    reader.fail("name", "must be a name in small letters that ends in .box");
  }
  HAKO_TRYV(reader.outcome());
  request.port = uint16_t(*port);
  return request;
}

Task<Result<void>> EgressControl::update_network(std::string id, Principal who, std::string body) {
  auto turn = co_await changes_.take();
  HAKO_CO_TRY(auto record, co_await sandboxes_.find(id, std::move(who)));
  HAKO_CO_TRY(auto change, api::update_network(parse_options(record.options), body));
  HAKO_CO_TRY(auto plan, plan_sandbox(platform_, label_of(record.label), change.options));
  // What was granted once and is too much by now is cut down, not held against E2B's clients.
  if (change.in_our_words && !plan.decision.allowed) co_return refused_by(plan.decision);
  HAKO_CO_TRY(auto links, co_await links_of(id));
  add_links(plan.policy, id, links);
  HAKO_CO_TRYV(co_await tell_node(record, plan.policy));
  record.options = write_options(change.options);
  record.egress = write_policy(plan.policy);
  HAKO_CO_TRYV(co_await write(record));
  sandboxes_.note(id, "network rules replaced");
  co_return ok();
}

Task<Result<SandboxRecord>> EgressControl::raise_label(std::string id, Principal who, Label label,
                                                       bool at_least) {
  auto turn = co_await changes_.take();
  HAKO_CO_TRY(auto record, co_await sandboxes_.find(id, std::move(who)));
  Label before = label_of(record.label);
  auto decision = policy::may_relabel(before, label);
  if (!decision.allowed && !at_least) {
    co_return Error(ErrorCode::failed_precondition, with_rule(decision));
  }
  if (label <= before) co_return record;
  HAKO_CO_TRYV(co_await check_readers(record, label));
  HAKO_CO_TRYV(co_await settle_others(id));

  SandboxOptions options = parse_options(record.options);
  options.network["allowPublicTraffic"] = false;
  if (record.traffic_token.empty()) record.traffic_token = new_token();
  record.label = to_string(label);
  record.options = write_options(options);
  // Links from others first: bytes go both ways along them.
  HAKO_CO_TRY(auto links, co_await links_of(id));
  for (const LinkRecord& link : links) {
    if (link.to == id) {
      HAKO_CO_TRYV(co_await settle_without(link));
    }
  }
  EgressPolicy policy = capped_policy(platform_, label, options);
  HAKO_CO_TRYV(co_await tell_node(record, policy));
  record.egress = write_policy(policy);
  auto forget_links = [id](LinkStore& store) { return store.remove_links_of(id); };
  auto forgotten = co_await store_.with_links(std::move(forget_links));
  if (!forgotten) co_return error_for_user(forgotten.error(), "links not removed");
  HAKO_CO_TRYV(co_await write(record));
  sandboxes_.note(id, "label raised to " + record.label);
  co_return record;
}

Task<Result<void>> EgressControl::check_readers(const SandboxRecord& record, Label label) {
  if (record.access_token.empty()) {
    co_return token_at_large("this sandbox has no access token: whoever reaches the gate can read "
                             "it");
  }
  // Those with less than its label until now were never given the token, the others may have been.
  std::set<std::string> too_low;
  for (Label clearance : policy::kLabels) {
    bool had_it = policy::may_read(clearance, label_of(record.label)).allowed;
    bool may_keep_it = policy::may_read(clearance, label).allowed;
    if (had_it && !may_keep_it) too_low.emplace(to_string(clearance));
  }
  auto work = [tenant = record.tenant, too_low](store::TenantStore& tenants) -> Result<bool> {
    HAKO_TRY(auto keys, tenants.keys_of(tenant));
    return std::any_of(keys.begin(), keys.end(), [&](const store::ApiKey& key) {
      return too_low.contains(key.clearance);
    });
  };
  auto any = co_await store_.with_tenants(std::move(work));
  if (!any) co_return error_for_user(any.error(), "keys not read");
  if (any.value()) {
    co_return token_at_large("a key without clearance for " + std::string(to_string(label)) +
                             " may have been given this sandbox's access token");
  }
  co_return ok();
}

Task<Result<LinkRecord>> EgressControl::add_link(LinkRequest request, Principal who) {
  auto turn = co_await changes_.take();
  HAKO_CO_TRY(auto from, co_await sandboxes_.find(request.from, who));
  HAKO_CO_TRY(auto to, co_await sandboxes_.find(request.to, who));
  if (from.key_id != to.key_id) {
    auto other = policy::Decision::deny(
        "link.owner", "the two sandboxes belong to different owners", "link sandboxes of one owner");
    co_return refused_by(other);
  }
  auto decision = policy::may_link(label_of(from.label), label_of(to.label));
  if (!decision.allowed) co_return refused_by(decision);
  HAKO_CO_TRY(auto links, co_await links_of(request.from));
  auto leads_out = [&](const LinkRecord& link) { return link.from == request.from; };
  if (std::count_if(links.begin(), links.end(), leads_out) >= std::ptrdiff_t(kMostLinks)) {
    co_return Error(ErrorCode::resource_exhausted, "a sandbox has at most " +
                                                       std::to_string(kMostLinks) + " links");
  }
  LinkRecord link;
  link.id = "l" + random_lower_alphanumeric(kLinkIdLength);
  link.from = request.from;
  link.to = request.to;
  link.port = request.port;
  link.name = request.name;
  link.created_ms = now();
  auto add = [link](LinkStore& store) { return store.add_link(link); };
  auto added = co_await store_.with_links(std::move(add));
  if (!added && added.error().code() == ErrorCode::already_exists) {
    co_return Error(ErrorCode::already_exists,
                    "sandbox " + link.from + " has a link of the name " + link.name);
  }
  if (!added) co_return error_for_user(added.error(), "link not written");
  links.push_back(link);
  auto settled = co_await settle(std::move(from), links);
  if (!settled) {
    HAKO_CO_TRYV(co_await drop(link.id));
    co_return settled.error();
  }
  co_return link;
}

Task<Result<std::vector<LinkRecord>>> EgressControl::list_links(Principal who) {
  auto read = [](LinkStore& store) { return store.all_links(); };
  auto all = co_await store_.with_links(std::move(read));
  if (!all) co_return error_for_user(all.error(), "links not read");
  Links visible;
  for (LinkRecord& link : all.value()) {
    // The other one has the same label.
    auto from = co_await sandboxes_.find(link.from, who);
    if (from) visible.push_back(std::move(link));
  }
  co_return visible;
}

Task<Result<void>> EgressControl::remove_link(std::string id, Principal who) {
  auto turn = co_await changes_.take();
  auto read = [id](LinkStore& store) { return store.find_link(id); };
  auto link = co_await store_.with_links(std::move(read));
  if (!link) co_return error_for_user(link.error(), "link not read");
  if (!link.value()) co_return link_not_found(id);
  auto seen = co_await sandboxes_.find(link.value()->from, std::move(who));
  if (!seen && seen.error().code() == ErrorCode::not_found) co_return link_not_found(id);
  if (!seen) co_return seen.error();
  HAKO_CO_TRYV(co_await settle_without(*link.value()));
  co_return co_await drop(id);
}

Task<Result<void>> EgressControl::drop(std::string link) {
  auto remove = [link](LinkStore& store) { return store.remove_link(link); };
  auto removed = co_await store_.with_links(std::move(remove));
  if (!removed) co_return error_for_user(removed.error(), "link not removed");
  co_return ok();
}

Task<Result<EgressControl::Links>> EgressControl::links_of(std::string id) {
  auto read = [id](LinkStore& store) { return store.links_of(id); };
  auto links = co_await store_.with_links(std::move(read));
  if (!links) co_return error_for_user(links.error(), "links not read");
  co_return std::move(links);
}

Task<Result<void>> EgressControl::settle_without(LinkRecord link) {
  auto found = co_await store_.find_sandbox(link.from);
  if (!found) co_return error_for_user(found.error(), "record not read");
  if (!found.value()) co_return ok();
  HAKO_CO_TRY(auto links, co_await links_of(link.from));
  std::erase_if(links, [&](const LinkRecord& each) { return each.id == link.id; });
  auto settled = co_await settle(std::move(*found.value()), links);
  // What has ended connects no more.
  if (!settled && settled.error().code() != ErrorCode::not_found) co_return settled;
  co_return ok();
}

Task<Result<void>> EgressControl::settle(SandboxRecord record, const Links& links) {
  EgressPolicy policy =
      capped_policy(platform_, label_of(record.label), parse_options(record.options));
  add_links(policy, record.id, links);
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
  json::object body;
  body["box"] = id;
  body["egress"] = policy::to_json(policy);
  // Always: a rise that has failed may have left another token there.
  body["ingress"] = ingress_json(record, parse_options(record.options));
  doubtful_.insert(id);
  auto answer = co_await node_.call("box.egress", std::move(body), kEgressDeadline);
  if (answer) co_return ok();
  if (answer.error().code() != ErrorCode::not_found) {
    co_return error_for_user(answer.error(), "egress not changed");
  }
  doubtful_.erase(id);
  co_await sandboxes_.forget(id, "unknown to the node");
  co_return Error(ErrorCode::not_found, "sandbox " + id + " not found");
}

Task<Result<void>> EgressControl::write(const SandboxRecord& record) {
  store::SandboxEgress egress{record.label, record.options, record.egress, record.traffic_token};
  std::string id = record.id;
  auto written = co_await store_.set_egress(id, std::move(egress));
  if (written || written.error().code() == ErrorCode::not_found) doubtful_.erase(id);
  if (!written && written.error().code() == ErrorCode::not_found) {
    co_return Error(ErrorCode::not_found, "sandbox " + id + " not found");
  }
  if (!written) co_return error_for_user(written.error(), "record not written");
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
  for (const SandboxRecord& record : records.value()) doubtful_.insert(record.id);
  co_return ok();
}

Task<Result<void>> EgressControl::settle_others(std::string id) {
  Result<void> settled = co_await list_doubtful();
  std::vector<std::string> others(doubtful_.begin(), doubtful_.end());
  for (const std::string& other : others) {
    if (settled && other != id) settled = co_await settle_as_recorded(other);
  }
  if (settled) co_return ok();
  log_warn("a label does not rise", {{"sandbox", id}, {"error", settled.error().message()}});
  co_return Error(ErrorCode::unavailable,
                  "what goes out of another sandbox is not settled yet; try again");
}

Task<Result<void>> EgressControl::settle_as_recorded(std::string id) {
  HAKO_CO_TRY(auto record, co_await store_.find_sandbox(id));
  if (!record || record->state != store::SandboxState::running) {
    doubtful_.erase(id);
    co_return ok();
  }
  HAKO_CO_TRY(auto links, co_await links_of(id));
  auto settled = co_await settle(std::move(*record), links);
  if (!settled && settled.error().code() != ErrorCode::not_found) co_return settled;
  co_return ok();
}

Task<void> EgressControl::push_all() {
  all_doubtful_ = true;
  co_await push_doubtful();
}

Task<void> EgressControl::push_doubtful() {
  Result<void> settled = co_await list_doubtful();
  int failed = 0;
  std::string error = settled ? "" : settled.error().message();
  std::vector<std::string> ids(doubtful_.begin(), doubtful_.end());
  for (const std::string& id : ids) {
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
