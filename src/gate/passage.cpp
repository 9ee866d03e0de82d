#include "gate/passage.h"

#include <fcntl.h>

#include "gate/destination.h"
#include "gate/dns_sockets.h"
#include "gate/egress_box.h"
#include "gate/guest_connection.h"
#include "gate/plain_http.h"
#include "policy/target_match.h"
#include "wire/loopback.h"
#include "wire/routing.h"

namespace hako::gate {
namespace {

using namespace std::chrono_literals;

constexpr uint16_t kDnsPort = 53;
constexpr uint16_t kHttpPort = 80;
constexpr Duration kConnectTime = 10s;

}  // namespace

Passage::Passage(EgressBox& box, http::Stream client)
    : box_(box), client_(std::move(client)), meter_(box.traffic()) {
  box_.enter(*this);
}

Passage::~Passage() {
  if (!ended_well_) cut("it was given up");
  note_end();
  box_.leave(*this);
}

Task<void> Passage::run() {
  co_await go();
  if (!ended_well_) cut(end_reason_);
}

void Passage::cut(std::string reason) {
  if (std::exchange(cut_, true)) return;
  end_reason_ = std::move(reason);
  http::reset_connection(client_);
  if (upstream_) http::reset_connection(*upstream_);
  for (Fd* handle : {&client_handle_, &upstream_handle_})
    if (*handle) reset_socket(handle->get());
}

bool Passage::keep_handle(Fd& into, http::Stream& stream) {
  into = Fd(::fcntl(stream.native_handle(), F_DUPFD_CLOEXEC, 0));
  if (!into) end_reason_ = "no descriptor is left";
  return static_cast<bool>(into);
}

bool Passage::idle_since(Clock::time_point when) const {
  return relaying_ && meter_.last_moved() < when;
}

Task<void> Passage::go() {
  auto there = original_destination(client_.native_handle());
  if (!there) {
    end_reason_ = there.error().message();
    co_return;
  }
  destination_.port = there.value().port();
  if (destination_.port == kDnsPort) {
    EgressBox& box = box_;
    AnswerDns answer = [&box](std::span<const uint8_t> message) { return box.answer(message); };
    co_await serve_dns_stream(client_, std::move(answer));
    ended_well_ = !cut_;
    co_return;
  }
  auto address = there.value().address();
  if (address.is_v4() && Names::is_synthetic(address.to_v4())) {
    const std::string* name = box_.names().name_of(address.to_v4());
    if (!name) {
      destination_.address = address;
      Refusal unknown{"egress.name", "no name has this address: ask DNS first"};
      co_return co_await refuse(std::move(unknown));
    }
    destination_.name = *name;
    for (const auto& link : box_.policy().links)
      if (link.name == destination_.name) co_return co_await go_by_link(link);
  } else {
    destination_.address = address;
  }
  co_await go_by_policy();
}

Task<void> Passage::go_by_link(policy::EgressLink link) {
  for (const auto& other : box_.policy().links)
    if (other.name == link.name && other.port == destination_.port) link = other;
  link_ = link;
  // The daemon and the relay to the loopback address are the node's and the gate's.
  bool reserved = link.port == wire::kDaemonPort || link.port == wire::kLoopbackRelayPort;
  auto machine = box_.commons().table.find_box(link.box);
  std::optional<Refusal> refusal;
  if (link.port != destination_.port || reserved)
    refusal = {"link.port", "no link leads to this port"};
  else if (!machine)
    refusal = {"link.box", "the box that is linked is not running"};
  if (refusal) co_return co_await refuse(std::move(*refusal));
  judged_ = true;
  allowed_by_ = policy::Decision::allow("link", "a link to box " + link.box);
  note_allowed();
  DialPlan plan;
  plan.port = link.port;
  plan.patience = kConnectTime;
  plan.loopback_too = true;
  auto connected = co_await dial(box_.commons().table, std::move(machine), plan);
  if (!connected) {
    end_reason_ = connected.error().message();
    co_return;
  }
  if (cut_) co_return;
  http::Stream& stream = connected.value().client().stream();
  if (keep_handle(upstream_handle_, stream)) co_await relay(stream);
  if (!ended_well_) http::reset_connection(stream);
}

Task<void> Passage::go_by_policy() {
  auto decision = box_.may_connect(destination_);
  if (!decision.allowed) {
    Refusal refusal{decision.rule, decision.reason};
    co_return co_await refuse(std::move(refusal));
  }
  judged_ = true;
  allowed_by_ = std::move(decision);
  auto addresses = co_await find_addresses();
  if (addresses.empty() || cut_) co_return;
  destination_.address = addresses.front();
  const auto& policy = box_.policy();
  intercepted_ = policy::must_intercept(policy, destination_.name, destination_.port);
  agrees_ = intercepted_ || policy::must_agree(policy, destination_);
  watched_ = agrees_ || port_has_secrets();
  bool only_tls =
      !destination_.name.empty() && box_.policy().tls_ports.contains(destination_.port);
  if (intercepted_)
    co_await pass_intercepted(std::move(addresses));
  else if (agrees_ && only_tls)
    co_await pass_tls(std::move(addresses));
  else if (agrees_ && destination_.port == kHttpPort)
    co_await pass_http(std::move(addresses));
  else if (watched_)
    co_await pass_watched(std::move(addresses));
  else if (co_await connect(std::move(addresses)))
    co_await relay(*upstream_);
}

Task<Addresses> Passage::find_addresses() {
  Addresses all;
  if (destination_.address) {
    all.push_back(*destination_.address);
  } else {
    auto resolved = co_await box_.resolve(destination_.name);
    if (cut_) co_return Addresses();
    if (!resolved) {
      note_allowed();
      end_reason_ = resolved.error().message();
      co_return Addresses();
    }
    all = std::move(resolved).value();
  }
  Addresses permitted;
  Refusal refusal{"egress.name", "the name has no address"};
  for (const auto& address : all) {
    policy::Destination there{destination_.name, address, destination_.port};
    auto decision = box_.may_connect(there);
    if (decision.allowed) {
      permitted.push_back(address);
      allowed_by_ = std::move(decision);
    } else {
      refusal = {decision.rule, decision.reason};
    }
  }
  if (permitted.empty()) {
    if (!all.empty()) destination_.address = all.front();
    co_await refuse(std::move(refusal));
  }
  co_return permitted;
}

std::optional<Passage::Refusal> Passage::objection() const {
  const auto& policy = box_.policy();
  if (link_) {
    auto& links = policy.links;
    if (std::find(links.begin(), links.end(), *link_) != links.end()) return std::nullopt;
    return Refusal{"link", "the link has been taken away"};
  }
  auto decision = box_.may_connect(destination_);
  if (!decision.allowed) return Refusal{decision.rule, decision.reason};
  bool looked_into = policy::must_intercept(policy, destination_.name, destination_.port);
  if (looked_into != intercepted_ && destination_.address)
    return Refusal{"secret", intercepted_ ? "no secret is for this host any more"
                                          : "a secret is for this host now"};
  if (!watched_ && destination_.address && port_has_secrets())
    return Refusal{"secret", "what was said on it has not been looked at"};
  if (!agrees_ && destination_.address && policy::must_agree(policy, destination_))
    return Refusal{"egress.name", "what was said on it has not been compared with its name"};
  if (!said_.empty() && watched_ && !may_name(said_))
    return Refusal{"egress.name", "it is for " + policy::in_quotes(said_) + ", which is denied"};
  return std::nullopt;
}

void Passage::judge_again() {
  if (!judged_ || cut_) return;
  auto refusal = objection();
  if (!refusal) return;
  note_denied(*refusal);
  cut("the policy has changed: " + refusal->reason);
}

Task<void> Passage::refuse(Refusal refusal) {
  judged_ = false;
  note_denied(refusal);
  end_reason_ = refusal.reason;
  if (destination_.port != kHttpPort || cut_) {
    cut(refusal.reason);
    co_return;
  }
  if (!keep_handle(client_handle_, client_)) co_return;
  co_await refuse_http(std::move(client_), std::move(refusal.reason));
  ended_well_ = true;
}

EgressRecord Passage::record(std::string_view verdict) const {
  EgressRecord record;
  record.kind = link_ ? "link" : "tcp";
  record.name = destination_.name;
  if (destination_.address) record.address = destination_.address->to_string();
  record.port = destination_.port;
  record.verdict = verdict;
  return record;
}

void Passage::note_allowed() {
  connection_ = box_.next_connection();
  auto allowed = record("allowed");
  allowed.rule = allowed_by_.rule;
  allowed.reason = allowed_by_.reason;
  allowed.connection = connection_;
  box_.record(std::move(allowed));
}

void Passage::note_denied(const Refusal& refusal) {
  auto denied = record("denied");
  denied.rule = refusal.rule;
  denied.reason = refusal.reason;
  box_.record(std::move(denied));
}

void Passage::note_end() {
  if (connection_ == 0) return;
  auto ended = record("ended");
  ended.reason = end_reason_;
  ended.bytes_out = meter_.out();
  ended.bytes_in = meter_.in();
  ended.connection = connection_;
  box_.record(std::move(ended));
}

}  // namespace hako::gate
