// Links between sandboxes: one part of EgressControl.
#include <algorithm>

#include "api/egress_control.h"
#include "api/scope.h"
#include "api/now.h"
#include "base/random.h"

namespace hako::api {
using store::LinkRecord;
using store::LinkStore;

namespace {

constexpr size_t kLinkIdLength = 20;
constexpr size_t kLongestSandboxId = 64;
constexpr size_t kLongestLinkName = 253;
using policy::kLinkSuffix;

/// The same rule as for names of any kind, of which the last label is "box".
bool is_link_name(std::string_view name) {
  if (name.size() <= kLinkSuffix.size() || !name.ends_with(kLinkSuffix)) return false;
  auto target = policy::parse_target(name);
  return target && target.value().kind == policy::Target::Kind::name &&
         target.value().name == name && target.value().ports.empty();
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

Task<Result<LinkRecord>> EgressControl::add_link(LinkRequest request, Principal who) {
  auto turn = co_await changes_.take();
  HAKO_CO_TRY(auto from, co_await sandboxes_.find_running(request.from, who));
  HAKO_CO_TRY(auto to, co_await sandboxes_.find_running(request.to, who));
  if (from.tenant != to.tenant || from.agent != to.agent) {
    auto other = policy::Decision::deny("link.owner", "the two sandboxes are of different agents",
                                        "link sandboxes of one agent");
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
  link.created_ms = unix_now_ms();
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
  // The other one has the same label, and is of the same agent.
  store::SandboxQuery visible;
  visible.paused = true;
  visible.alive_at_ms = unix_now_ms();
  narrow(visible, who);
  auto read = [visible](LinkStore& store) { return store.list_links(visible); };
  auto links = co_await store_.with_links(std::move(read));
  if (!links) co_return error_for_user(links.error(), "links not read");
  co_return std::move(links);
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

}  // namespace hako::api
