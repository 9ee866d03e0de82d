// Requests for boxes that come to the API's own port: one part of Server.
#include "api/now.h"
#include "api/authority.h"
#include "api/checkpoints.h"
#include "api/egress_control.h"
#include "api/grants.h"
#include "api/scope.h"
#include "api/server.h"
#include "api/upload_label.h"
#include "base/clock.h"
#include "policy/daemon_action.h"
#include "wire/routing.h"

namespace hako::api {
using policy::Action;
using store::SandboxRecord;

namespace {

constexpr std::string_view kTokenHeader = "X-Access-Token";
constexpr std::string_view kTrafficHeader = "E2b-Traffic-Access-Token";

boost::beast::string_view field(std::string_view name) {
  return {name.data(), name.size()};
}

/// Which port of which box, if the request says so.
std::optional<wire::BoxPort> target_of(const http::RequestHead& head) {
  wire::RoutingFacts facts;
  facts.path = head.path();
  facts.host = head.header("Host");
  facts.sandbox_id = head.header("E2b-Sandbox-Id");
  facts.sandbox_port = head.header("E2b-Sandbox-Port");
  auto route = wire::route_of(facts);
  if (route.kind != wire::Route::Kind::box) return std::nullopt;
  return route.target;
}

/// What a request needs; nothing where anybody may ask.
std::optional<Action> action_of(const http::RequestHead& head, const wire::BoxPort& target) {
  if (target.port == wire::kDaemonPort) return policy::daemon_action(head.method_text, head.path());
  return Action::sandbox_ports;
}

}  // namespace

Task<void> Server::pass_on(http::Exchange& exchange) {
  http::RequestHead head = exchange.head();
  auto admitted = co_await wake_for(head);
  if (admitted) admitted = co_await admit(head);
  if (admitted) admitted = co_await let_in(exchange, head);
  if (!admitted) {
    service_.trail.turned_away(exchange.head(), exchange.peer_address(), admitted.error());
    auto response = response_for(admitted.error());
    (void)co_await exchange.respond(std::move(response));
    co_return;
  }
  co_await data_plane_.serve(exchange, std::move(head));
}

/// By a key, or by a token that is good for this. Ports that are open to everybody, and all else, are
/// for the gate to look at, which asks in its turn.
Task<Result<void>> Server::wake_for(const http::RequestHead& head) {
  auto target = target_of(head);
  if (!target) co_return ok();
  auto found = co_await service_.store.find_sandbox(target->box);
  if (!found) co_return error_for_user(found.error(), "record not read");
  if (!found.value() || !wakes_on_traffic(*found.value())) co_return ok();
  const SandboxRecord& record = *found.value();
  int64_t now_ms = unix_now_ms();
  auto action = action_of(head, *target);
  bool daemon = target->port == wire::kDaemonPort;
  std::string token(head.header(daemon ? kTokenHeader : kTrafficHeader));
  bool may = false;
  if (!token.empty()) {
    Grants grants = parse_grants(record.grants);
    const Grant* grant = find_grant(grants, token, now_ms);
    may = grant && (!action || grant->actions.has(*action));
  } else if (!head.header(kKeyHeader).empty()) {
    HAKO_CO_TRY(auto who, co_await service_.authority.authenticate(head));
    may = may_see(who, record, now_ms) &&
          (!action || policy::may(who.permission, *action, now_ms).allowed);
  }
  if (!may) co_return ok();
  co_return co_await service_.sandboxes.wake(target->box);
}

Task<Result<void>> Server::let_in(http::Exchange& exchange, http::RequestHead& head) {
  auto target = target_of(head);
  if (!target || head.header(kKeyHeader).empty()) co_return ok();
  bool daemon = target->port == wire::kDaemonPort;
  std::string_view header = daemon ? kTokenHeader : kTrafficHeader;
  // Whoever shows a token is asked about that, by the gate.
  if (!head.header(header).empty()) co_return ok();
  HAKO_CO_TRY(auto who, co_await service_.authority.authenticate(head));
  exchange.vouch();
  auto action = action_of(head, *target);
  if (action) {
    auto permitted = policy::may(who.permission, *action, to_unix_ms(WallClock::now()));
    if (!permitted.allowed) co_return refused_by(permitted);
  }
  HAKO_CO_TRY(auto found, co_await service_.sandboxes.find(target->box, who));
  HAKO_CO_TRY(auto record, co_await service_.egress.give_access(std::move(found), who));
  ShownTokens tokens = shown_tokens(who, record);
  const std::string& token = daemon ? tokens.inside : tokens.ports;
  if (!token.empty()) head.fields.set(field(header), token);
  co_return ok();
}

Task<Result<void>> Server::admit(http::RequestHead& head) {
  HAKO_CO_TRY(auto upload, take_upload_label(head));
  if (!upload) co_return ok();
  HAKO_CO_TRY(auto who, co_await uploader(head, upload->box));
  auto permitted = policy::may(who.permission, Action::files_write, to_unix_ms(WallClock::now()));
  if (!permitted.allowed) co_return refused_by(permitted);
  HAKO_CO_TRYV(co_await service_.egress.raise_label(upload->box, std::move(who), upload->label,
                                                    true));
  co_return ok();
}

/// By the sandbox's token where one is shown, as the gate will ask for it later whatever key there is,
/// else by a key.
Task<Result<Principal>> Server::uploader(const http::RequestHead& head, const std::string& box) {
  std::string token(head.header(kTokenHeader));
  if (!token.empty()) {
    auto found = co_await service_.store.find_sandbox(box);
    if (!found) co_return error_for_user(found.error(), "record not read");
    if (const std::optional<SandboxRecord>& record = found.value()) {
      Grants grants = parse_grants(record->grants);
      const Grant* grant = find_grant(grants, token, to_unix_ms(WallClock::now()));
      if (grant) co_return holder_of(*grant, *record);
    }
    // In the same words for a sandbox that is not there.
    co_return Error(ErrorCode::unauthenticated, "the access token is not valid");
  }
  if (!head.header(kKeyHeader).empty()) co_return co_await service_.authority.authenticate(head);
  co_return Error(ErrorCode::unauthenticated,
                  "an upload with a label needs the sandbox's access token or an API key");
}

}  // namespace hako::api
