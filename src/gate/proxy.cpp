#include "gate/proxy.h"

#include "base/log.h"
#include "gate/answers.h"
#include "http/relay.h"
#include "wire/ascii.h"
#include "wire/loopback.h"

namespace hako::gate {
namespace {

using namespace std::chrono_literals;

constexpr Duration kDialPatience = 5s;
constexpr Duration kApiPatience = 5s;
constexpr Duration kFirstPause = 100ms;
/// A service that is just starting gets a second or so to open its port.
constexpr int kDialTries = 5;

http::Response connect_problem(const http::RequestHead& head, const wire::BoxPort& target,
                               const Error& error) {
  if (error.code() == ErrorCode::resource_exhausted)
    return problem(head, target, 429, error.message());
  // Slow is not the same as closed, which clients take for the end of the sandbox.
  if (error.code() == ErrorCode::timed_out)
    return problem(head, target, 504, "The sandbox did not take the connection in time", true);
  return no_port(head, target);
}

wire::RoutingFacts facts_of(const http::RequestHead& head) {
  wire::RoutingFacts facts;
  facts.path = head.path();
  facts.host = head.header("Host");
  facts.sandbox_id = head.header("E2b-Sandbox-Id");
  facts.sandbox_port = head.header("E2b-Sandbox-Port");
  return facts;
}

/// Whether it brings data that must not go in before the box's label has risen.
bool has_label(const http::RequestHead& head) {
  return head.fields.count("X-Hako-Label") > 0 ||
         (head.path() == "/files" && head.parameter("label").has_value());
}

/// Whether a request that names no box is for the API by the name it came for.
bool is_for_api(const wire::RoutingFacts& facts, std::string_view api_host) {
  std::string_view name = facts.host.substr(0, facts.host.find(':'));
  return !api_host.empty() &&
         wire::equal_ignoring_case(name, api_host) &&
         !wire::is_data_plane(facts);
}

Task<void> answer(http::Exchange& exchange, http::Response response) {
  (void)co_await exchange.respond(std::move(response));
}

}  // namespace

std::optional<wire::BoxPort> Proxy::box_by_signature(const http::RequestHead& head) const {
  auto request = SignedRequest::of(head);
  if (!request) return std::nullopt;
  constexpr policy::ActionSet kFiles{policy::Action::files_read, policy::Action::files_write};
  // Whether it has expired, or is good for this, is said when the box is known.
  for (const auto& [box, machine] : table_.boxes()) {
    if (machine->access_token.empty()) continue;
    bool fits = !machine->ingress.grants && request->fits(machine->access_token);
    if (machine->ingress.grants) {
      for (const Grant& grant : *machine->ingress.grants)
        fits = fits || (!(grant.actions & kFiles).empty() && request->fits(grant.token));
    }
    if (fits) return wire::BoxPort{box, wire::kDaemonPort};
  }
  return std::nullopt;
}

Task<void> Proxy::handle(http::Exchange& exchange) {
  http::RequestHead head = exchange.head();
  auto target_text = wire::origin_form(head.target);
  if (!target_text || head.method == http::Verb::connect) {
    auto response = http::error_response(400, "bad request target");
    co_return co_await answer(exchange, std::move(response));
  }
  if (head.method == http::Verb::unknown) {
    // It would reach the box under another name.
    auto response = http::error_response(501, "unknown method");
    co_return co_await answer(exchange, std::move(response));
  }
  head.target = std::move(*target_text);
  auto facts = facts_of(head);
  auto route = wire::route_of(facts);
  if (route.kind == wire::Route::Kind::unrouted && is_for_api(facts, api_.host))
    co_return co_await pass_to_api(exchange, std::move(head));
  if (route.kind == wire::Route::Kind::unrouted && is_signed(head)) {
    auto now = TokenBucket::Time::clock::now();
    if (guesses_.wait(now) > TokenBucket::Duration::zero()) {
      auto response = http::error_response(429, "too many signatures are of no sandbox; try again");
      response.fields.set(http::Field::retry_after, "1");
      allow_origins(response.fields);
      co_return co_await answer(exchange, std::move(response));
    }
    if (auto found = box_by_signature(head)) {
      route.kind = wire::Route::Kind::box;
      route.target = std::move(*found);
    } else {
      guesses_.take(now);
    }
  }
  if (route.kind == wire::Route::Kind::unrouted && is_signed(head)) {
    // In the words of the daemon that would have refused it, had the request named its box.
    auto response = http::error_response(401, "invalid signature");
    allow_origins(response.fields);
    co_return co_await answer(exchange, std::move(response));
  }
  if (route.kind != wire::Route::Kind::box) {
    auto response = http::Response::text(400, "the request names no sandbox\n");
    co_return co_await answer(exchange, std::move(response));
  }
  if (route.target.port == wire::kDaemonPort && wire::is_internal_path(head.path())) {
    auto response = http::error_response(404, "no such path");
    co_return co_await answer(exchange, std::move(response));
  }
  auto machine = table_.find_box(route.target.box);
  MachineRef sleeper;
  if (!machine && sleepers_) sleeper = sleepers_->find(route.target.box);
  if (!machine && !sleeper) {
    auto response = no_sandbox(head, route.target);
    co_return co_await answer(exchange, std::move(response));
  }
  if (route.target.port == wire::kDaemonPort && has_label(head)) {
    auto response = http::error_response(
        400, "uploads with a label go to the API's port, which raises the sandbox's label first");
    co_return co_await answer(exchange, std::move(response));
  }
  if (route.target.port == wire::kDaemonPort && is_preflight(head)) {
    auto response = preflight_answer(head);
    co_return co_await answer(exchange, std::move(response));
  }
  if (!machine) machine = co_await wake(exchange, head, std::move(sleeper), route.target);
  if (!machine) co_return;
  co_await pass_on(exchange, std::move(head), std::move(machine), std::move(route.target));
}

/// As it is judged when the box runs; but its daemon it must show a token, if there is one to show.
Task<MachineRef> Proxy::wake(http::Exchange& exchange, const http::RequestHead& head,
                             MachineRef sleeper, const wire::BoxPort& target) {
  Judgement judgement = judge(head, target.port, *sleeper, WallClock::now());
  bool daemon = target.port == wire::kDaemonPort;
  bool needs_token = daemon && !sleeper->access_token.empty();
  bool has_token = judgement.by || (sleeper->ingress.grants &&
                                    shows_grant(head, *sleeper->ingress.grants, WallClock::now()));
  if (!judgement.passes()) {
    auto response = refusal(head, target, judgement);
    co_await answer(exchange, std::move(response));
    co_return nullptr;
  }
  if ((needs_token && !has_token) || target.port == wire::kLoopbackRelayPort) {
    auto response = no_sandbox(head, target);
    co_await answer(exchange, std::move(response));
    co_return nullptr;
  }
  auto woken = co_await sleepers_->wake(target.box);
  auto machine = table_.find_box(target.box);
  if (woken && machine) co_return machine;
  auto response = no_sandbox(head, target);
  if (!woken && woken.error().code() != ErrorCode::not_found) {
    unsigned status = http::status_of(woken.error().code());
    if (!http::passes_by_itself(status) && status != 504) status = 503;
    response = problem(head, target, status, woken.error().message());
    if (auto wait = woken.error().retry_after(); wait.count() > 0)
      response.fields.set(http::Field::retry_after, std::to_string(wait.count()));
  }
  co_await answer(exchange, std::move(response));
  co_return nullptr;
}

Task<Result<GuestConnection>> Proxy::connect(MachineRef machine, uint16_t port) {
  if (port == wire::kDaemonPort)
    return daemon_connection(table_, std::move(machine), kDialPatience);
  DialPlan plan;
  plan.port = port;
  plan.tries = kDialTries;
  plan.patience = kDialPatience;
  plan.first_pause = kFirstPause;
  plan.loopback_too = true;
  return dial(table_, std::move(machine), plan);
}

http::RequestHead Proxy::let_in(const http::RequestHead& head, const Machine& machine,
                                uint16_t port, Judgement& judgement) {
  http::RequestHead inside = head;
  take_out_keys(inside);
  if (port != wire::kDaemonPort) {
    prepare_for_service(inside, port, machine.ingress);
    auto lent = lend_own_token(inside, machine, WallClock::now());
    if (lent && !judgement.by) {
      judgement.key = lent->key;
      judgement.by = std::move(lent);
    }
  } else if (judgement.by) {
    show_own_token(inside, machine.access_token);
  }
  return inside;
}

Task<void> Proxy::refuse(http::Exchange& exchange, const http::RequestHead& head,
                         const Machine& machine, const wire::BoxPort& target,
                         const Judgement& judgement) {
  log_.refused(machine, head, target.port, judgement.refused, judgement.key, judgement.reason);
  auto response = refusal(head, target, judgement);
  co_await answer(exchange, std::move(response));
}

Task<void> Proxy::pass_on(http::Exchange& exchange, http::RequestHead head, MachineRef machine,
                          wire::BoxPort target) {
  bool daemon = target.port == wire::kDaemonPort;
  bool repeatable = !head.has_body();
  auto judge_now = [&] { return judge(head, target.port, *machine, WallClock::now()); };
  Judgement judgement = judge_now();
  if (!judgement.passes())
    co_return co_await refuse(exchange, head, *machine, target, judgement);
  // The relay inside a guest is for us alone: it would reach any port past the traffic token.
  if (target.port == wire::kLoopbackRelayPort) {
    auto response = no_port(head, target);
    co_return co_await answer(exchange, std::move(response));
  }
  std::optional<Access> access;
  http::HeadEdit edit;
  if (daemon) edit = [](http::ResponseHead& response) { allow_origins(response.fields); };
  for (;;) {
    auto connection = co_await connect(machine, target.port);
    if (!connection) {
      auto response = machine->removed ? no_sandbox(head, target)
                                       : connect_problem(head, target, connection.error());
      co_return co_await answer(exchange, std::move(response));
    }
    // It may have been closed to this request while the connection was made.
    judgement = judge_now();
    if (!judgement.passes())
      co_return co_await refuse(exchange, head, *machine, target, judgement);
    exchange.vouch();
    auto inside = let_in(head, *machine, target.port, judgement);
    if (judgement.by) connection.value().go_on_by(*judgement.by);
    if (daemon && !access) access.emplace(log_, machine, head);
    if (access) access->is_of(judgement.key);
    if (!daemon) log_.reached(*machine, target.port, judgement.key);
    bool reused = connection.value().reused();
    http::RelayWatcher* watcher = access ? &*access : nullptr;
    auto outcome = co_await http::relay(exchange, std::move(inside), connection.value().client(),
                                        edit, http::Upgrades::any, watcher);
    if (outcome == http::RelayOutcome::reusable && daemon)
      GuestConnection::keep(std::move(connection).value());
    if (outcome == http::RelayOutcome::stopped) {
      auto response = refusal(head, target, access->stopped());
      co_return co_await answer(exchange, std::move(response));
    }
    if (outcome != http::RelayOutcome::refused) co_return;
    judgement = judge_now();
    if (!judgement.passes() && !machine->removed)
      co_return co_await refuse(exchange, head, *machine, target, judgement);
    // A kept connection may have been closed under us; a new one tells more.
    if (reused && repeatable && !machine->removed) continue;
    auto response = machine->removed ? no_sandbox(head, target)
                                     : problem(head, target, 502,
                                               "The sandbox did not answer the request", true);
    if (access) access->answered(response.status);
    co_return co_await answer(exchange, std::move(response));
  }
}

Task<void> Proxy::pass_to_api(http::Exchange& exchange, http::RequestHead head) {
  // The API sees a socket of this machine; how the client came only we know, whatever it says.
  head.fields.set("X-Forwarded-Proto", exchange.is_encrypted() ? "https" : "http");
  auto stream = co_await http::connect_unix(api_.socket_path, kApiPatience);
  if (stream) {
    http::Client api(std::move(stream).value());
    http::HeadEdit note = [&exchange](http::ResponseHead& answer) {
      if (answer.fields.erase(http::kKnownCaller) > 0) exchange.vouch();
    };
    auto outcome = co_await http::relay(exchange, std::move(head), api, note);
    if (outcome != http::RelayOutcome::refused) co_return;
  }
  auto response = http::error_response(503, "the API is not available at the moment; try again");
  response.fields.set(http::Field::retry_after, "1");
  co_await answer(exchange, std::move(response));
}

}  // namespace hako::gate
