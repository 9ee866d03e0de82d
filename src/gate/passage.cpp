#include "gate/passage.h"

#include <fcntl.h>

#include "base/async/both.h"
#include "gate/destination.h"
#include "gate/dns_sockets.h"
#include "gate/egress_box.h"
#include "gate/guest_connection.h"
#include "gate/metered_stream.h"
#include "gate/plain_http.h"
#include "gate/upstream.h"
#include "wire/loopback.h"
#include "wire/routing.h"

namespace hako::gate {
namespace {

using namespace std::chrono_literals;
using boost::system::error_code;

constexpr uint16_t kDnsPort = 53;
constexpr uint16_t kHttpPort = 80;
/// By then a client has said whom it wants.
constexpr Duration kOpeningTime = 10s;
constexpr Duration kConnectTime = 10s;
constexpr Duration kSendTime = 30s;
constexpr size_t kReadSize = 4 << 10;

/// A second descriptor, by which to reset a connection that somebody else owns.
Fd handle_of(http::Stream& stream) {
  return Fd(::fcntl(stream.native_handle(), F_DUPFD_CLOEXEC, 0));
}

std::string why_unread(const Error& error) {
  if (error.code() == ErrorCode::timed_out) return "the client did not say for whom in time";
  return error.message();
}

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
  upstream_handle_ = handle_of(stream);
  co_await relay(stream);
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
  agrees_ = policy::must_agree(box_.policy(), destination_);
  if (agrees_ && destination_.port == kHttpPort)
    co_await pass_http(std::move(addresses));
  else if (agrees_ && !destination_.name.empty() &&
           box_.policy().tls_ports.contains(destination_.port))
    co_await pass_tls(std::move(addresses));
  else if (agrees_)
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

Task<Result<void>> Passage::connect(Addresses addresses) {
  if (connection_ == 0) note_allowed();
  // Asked again for each: a policy may have changed since.
  MayTry may_try = [this](const asio::ip::address& address) {
    policy::Destination there{destination_.name, address, destination_.port};
    return !cut_ && box_.may_connect(there).allowed;
  };
  auto connected = co_await connect_out(upstream_, std::move(addresses), destination_.port,
                                        kConnectTime, may_try);
  if (cut_) co_return Error(ErrorCode::cancelled, end_reason_);
  if (!connected) {
    end_reason_ = connected.error().message();
    co_return connected.error();
  }
  destination_.address = connected.value();
  co_return ok();
}

Task<Result<Opening>> Passage::read_opening(Judge judge) {
  for (;;) {
    Opening opening = judge(pending_, expected());
    if (opening.kind != Opening::Kind::incomplete) co_return opening;
    size_t had = pending_.size();
    pending_.resize(had + kReadSize);
    error_code error;
    size_t count = co_await client_.async_read_some(
        asio::buffer(pending_.data() + had, kReadSize),
        asio::redirect_error(asio::use_awaitable, error));
    pending_.resize(had + count);
    if (error == asio::error::operation_aborted) throw boost::system::system_error(error);
    if (error) co_return Error(ErrorCode::unavailable, "the client ended before it said for whom");
    (void)meter_.count(Way::out, count);
  }
}

Task<void> Passage::pass_tls(Addresses addresses) {
  auto reading = read_opening(judge_tls);
  auto opening = co_await with_deadline(kOpeningTime, std::move(reading));
  if (cut_) co_return;
  std::optional<Refusal> refusal;
  if (!opening)
    refusal = {kSniRule, why_unread(opening.error())};
  else if (opening.value().kind == Opening::Kind::refused)
    refusal = {opening.value().rule, opening.value().reason};
  if (refusal) co_return co_await refuse(std::move(*refusal));
  if (!co_await connect(std::move(addresses))) co_return;
  if (!co_await send_pending()) co_return;
  co_await relay(*upstream_);
}

Task<void> Passage::pass_watched(Addresses addresses) {
  if (!co_await connect(addresses)) co_return;
  relaying_ = true;
  auto in = pass_in_until_http();
  auto out = pass_out_watched(addresses);
  auto ended = co_await both(std::move(out), std::move(in));
  ended_well_ = ended.has_value() && !cut_;
  if (!cut_ && end_reason_.empty())
    end_reason_ = ended ? "both sides have ended" : ended.error().message();
}

Task<Result<void>> Passage::pass_in_until_http() {
  struct Note {
    bool& ended;
    ~Note() { ended = true; }
  } note{in_ended_};
  Result<void> result = ok();
  try {
    result = co_await splice_one_way(*upstream_, client_, box_.commons().pipes, meter_, Way::in);
  } catch (const boost::system::system_error&) {
    if (!turns_to_http_) throw;
  }
  if (turns_to_http_) co_return ok();
  co_return result;
}

Task<Result<void>> Passage::pass_out_watched(const Addresses& addresses) {
  // Whoever lets the server speak first may take its time.
  error_code error;
  co_await client_.async_wait(http::Stream::wait_read,
                              asio::redirect_error(asio::use_awaitable, error));
  if (error) throw boost::system::system_error(error);
  auto reading = read_opening(judge_opening);
  auto read = co_await with_deadline(kOpeningTime, std::move(reading));
  if (cut_) co_return Error(ErrorCode::cancelled, end_reason_);
  // What has ended without being anything can become nothing.
  Opening opening{Opening::Kind::other, {}, {}};
  if (read)
    opening = std::move(read).value();
  else if (read.error().code() == ErrorCode::timed_out)
    opening = {Opening::Kind::refused, kHostRule, why_unread(read.error())};
  if (opening.kind == Opening::Kind::refused) {
    Refusal refusal{opening.rule, opening.reason};
    note_denied(refusal);
    co_return Error(ErrorCode::permission_denied, opening.reason);
  }
  if (opening.kind != Opening::Kind::http) {
    HAKO_CO_TRYV(co_await send_pending());
    co_return co_await splice_one_way(client_, *upstream_, box_.commons().pipes, meter_, Way::out);
  }
  // The direction from the server ends without losing a byte if none has come, as it is with HTTP.
  turns_to_http_ = true;
  upstream_->cancel(error);
  if (meter_.in() > 0) client_.cancel(error);
  while (!in_ended_) co_await asio::post(client_.get_executor(), asio::use_awaitable);
  if (meter_.in() > 0) upstream_.reset();
  co_await serve_http(addresses);
  co_return ok();
}

Task<void> Passage::pass_http(Addresses addresses) {
  note_allowed();
  relaying_ = true;
  co_await serve_http(std::move(addresses));
  ended_well_ = !cut_;
  if (!cut_) end_reason_ = "both sides have ended";
}

Task<void> Passage::serve_http(Addresses addresses) {
  client_handle_ = handle_of(client_);
  meter_stream(client_, meter_, std::exchange(pending_, {}));
  PlainHttp way;
  way.expected = expected();
  way.connect = [this, addresses] { return connect_for_http(addresses); };
  way.refused = [this](const std::string& reason) { note_denied({kHostRule, reason}); };
  co_await relay_http(std::move(client_), std::move(way));
}

Task<Result<http::Stream>> Passage::connect_for_http(Addresses addresses) {
  if (!upstream_) {
    HAKO_CO_TRYV(co_await connect(std::move(addresses)));
  }
  http::Stream stream = std::move(*upstream_);
  upstream_.reset();
  upstream_handle_ = handle_of(stream);
  co_return stream;
}

Task<Result<void>> Passage::send_pending() {
  std::string bytes = std::exchange(pending_, {});
  auto send = [](http::Stream& stream, const std::string& bytes) -> Task<Result<void>> {
    error_code error;
    co_await asio::async_write(stream, asio::buffer(bytes),
                               asio::redirect_error(asio::use_awaitable, error));
    if (error == asio::error::operation_aborted) throw boost::system::system_error(error);
    if (error) co_return Error::from_errno(error.value(), "send");
    co_return ok();
  };
  auto sending = send(*upstream_, bytes);
  auto sent = co_await with_deadline(kSendTime, std::move(sending));
  if (!sent) end_reason_ = sent.error().message();
  co_return sent;
}

Task<void> Passage::relay(http::Stream& upstream) {
  relaying_ = true;
  auto end = co_await relay_splice(client_, upstream, box_.commons().pipes, meter_);
  if (cut_) co_return;
  ended_well_ = end.orderly;
  end_reason_ = std::move(end.reason);
}

Expected Passage::expected() const {
  Expected expected;
  expected.name = destination_.name;
  expected.port = destination_.port;
  const EgressBox& box = box_;
  policy::Destination there = destination_;
  expected.may_name = [&box, there](const std::string& said) {
    if (said == there.address->to_string()) return true;
    policy::Destination named{said, there.address, there.port};
    return box.may_connect(named).allowed;
  };
  return expected;
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
  if (!agrees_ && destination_.address && policy::must_agree(policy, destination_))
    return Refusal{"egress.name", "what was said on it has not been compared with its name"};
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
  client_handle_ = handle_of(client_);
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
  connection_ = ++box_.commons().last_connection;
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
