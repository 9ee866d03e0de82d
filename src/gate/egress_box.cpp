#include "gate/egress_box.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "base/clock.h"
#include "base/log.h"
#include "gate/destination.h"
#include "gate/dns_service.h"
#include "gate/guest_connection.h"
#include "gate/walls.h"

namespace hako::gate {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

constexpr Duration kIdleTime = 10min;
/// Less than servers keep a connection open, so that it does not end as it is used.
constexpr Duration kSpareTime = 4s;
/// Of connections in a row; then others get their turn.
constexpr int kAcceptsPerTurn = 32;
/// Whoever floods waits so long for the next reset.
constexpr Duration kFloodPause = 20ms;
constexpr Duration kTroublePause = 50ms;

/// What the policy would be without the walls that a test has taken away.
policy::EgressPolicy as_walls_stand(policy::EgressPolicy policy) {
  if (!stands(Wall::private_ranges)) {
    for (const char* everything : {"0.0.0.0/0", "[::]/0"})
      if (auto target = policy::parse_target(everything))
        policy.private_networks.push_back(std::move(target).value());
  }
  return policy;
}

policy::EgressPolicy everything() {
  policy::EgressPolicy policy;
  policy.layers.push_back({"no wall", policy::EgressLevel::internet, {}, {}, false});
  return policy;
}

/// As many as may be open may be opened at once.
double connect_burst(const policy::EgressLimits& limits) {
  return std::max(1, limits.connections > 0 ? limits.connections : limits.connects_per_second);
}

double question_burst(const policy::EgressLimits& limits) {
  return std::max(1, limits.names_per_second);
}

SharedSocket share(asio::any_io_executor executor, Fd socket) {
  if (!socket) return nullptr;
  auto shared = std::make_shared<asio::posix::stream_descriptor>(executor);
  shared->assign(socket.get());
  (void)socket.release();  // only now: what is not taken must be closed
  return shared;
}

void close_socket(SharedSocket& socket) {
  boost::system::error_code ignored;
  if (socket) socket->close(ignored);
  socket = nullptr;
}

}  // namespace

EgressBox::EgressBox(asio::any_io_executor executor, EgressCommons& commons, std::string machine)
    : executor_(executor),
      commons_(commons),
      machine_(std::move(machine)),
      connects_(policy_.limits.connects_per_second, connect_burst(policy_.limits)),
      questions_(policy_.limits.names_per_second, question_burst(policy_.limits)),
      // Above those of a gate that ran before, and small enough for readers whose numbers are
      // doubles.
      last_connection_(static_cast<uint64_t>(to_unix_ms(WallClock::now())) * 1000),
      tasks_(executor) {}

void EgressBox::listen(EgressSockets sockets) {
  if (closed_) return;
  close_socket(listener_);
  close_socket(dns_);
  listener_ = share(executor_, std::move(sockets.listener));
  dns_ = share(executor_, std::move(sockets.dns));
  if (listener_) tasks_.spawn("egress: accept", accept_all(listener_));
  if (dns_) {
    AnswerDns answer_it = [this](std::span<const uint8_t> question) { return answer(question); };
    tasks_.spawn("egress: DNS", serve_dns_datagrams(dns_, std::move(answer_it)));
  }
}

void EgressBox::set_policy(std::string box, policy::EgressPolicy policy) {
  if (box != box_) {
    tell_moved();  // by whom it was moved
    if (!box_.empty()) commons_.broker.forget(box_);
  }
  box_ = std::move(box);
  policy_ = as_walls_stand(std::move(policy));
  const auto& limits = policy_.limits;
  traffic_.set_limits(limits);
  connects_.change(Clock::now(), limits.connects_per_second, connect_burst(limits));
  questions_.change(Clock::now(), limits.names_per_second, question_burst(limits));
  for (Passage* passage : passages_) passage->judge_again();
  spares_.clear();
}

void EgressBox::close() {
  closed_ = true;
  close_socket(listener_);
  close_socket(dns_);
  for (Passage* passage : passages_) passage->cut("the machine has gone");
  spares_.clear();
  tell_moved();
  if (!box_.empty()) commons_.broker.forget(box_);
}

void EgressBox::secrets_changed() {
  for (Passage* passage : passages_) passage->secrets_changed();
}

Task<void> EgressBox::stop() {
  close();
  co_await tasks_.stop();
}

void EgressBox::cut_idle() {
  auto since = Clock::now() - kIdleTime;
  for (Passage* passage : passages_)
    if (passage->idle_since(since)) passage->cut("no byte for too long");
  std::erase_if(spares_, [](const Spare& spare) { return Clock::now() - spare.since > kSpareTime; });
}

std::optional<http::Client> EgressBox::take_spare(const std::string& name, uint16_t port) {
  std::erase_if(spares_, [](Spare& spare) {
    return Clock::now() - spare.since > kSpareTime || spare.client.stale();
  });
  auto found = std::ranges::find_if(
      spares_, [&](const Spare& spare) { return spare.name == name && spare.port == port; });
  if (found == spares_.end()) return std::nullopt;
  http::Client client = std::move(found->client);
  spares_.erase(found);
  return client;
}

void EgressBox::keep_spare(const std::string& name, uint16_t port, http::Client client) {
  if (closed_ || !client.reusable()) return;
  if (spares_.size() >= kMostSpares) spares_.erase(spares_.begin());
  spares_.push_back({name, port, std::move(client), Clock::now()});
}

void EgressBox::tell_moved() {
  int64_t more = traffic_.moved() - std::exchange(told_, traffic_.moved());
  if (more <= 0) return;
  EgressRecord moved;
  moved.kind = "tcp";
  moved.verdict = "moved";
  moved.bytes_out = more;
  record(std::move(moved));
}

policy::Decision EgressBox::may_connect(const policy::Destination& destination) const {
  auto decision = policy::may_connect(policy_, destination);
  if (decision.allowed && destination.address && commons_.own.have(*destination.address) &&
      stands(Wall::own_addresses))
    return policy::Decision::deny("egress.own", "the address is this host's own", "");
  return decision;
}

Task<Result<Addresses>> EgressBox::resolve(std::string name) {
  auto turn = co_await resolving_.take();
  co_return co_await commons_.resolver.resolve(std::move(name));
}

std::vector<uint8_t> EgressBox::answer(std::span<const uint8_t> question) {
  DnsAnswer answer;
  if (!questions_.take(Clock::now()))
    answer = refuse_dns(question);
  else if (stands(Wall::dns_names))
    answer = answer_dns(question, policy_, names_);
  else
    answer = answer_dns(question, everything(), names_);
  if (answer.noted) {
    EgressRecord noted;
    noted.kind = "dns";
    // Of what is refused for its number alone, all is one record.
    if (!answer.rule.starts_with("limits.")) noted.name = std::move(answer.name);
    if (answer.address) noted.address = answer.address->to_string();
    noted.port = 53;
    noted.verdict = answer.allowed ? "allowed" : "denied";
    noted.rule = std::move(answer.rule);
    noted.reason = std::move(answer.reason);
    record(std::move(noted));
  }
  return std::move(answer.message);
}

void EgressBox::record(EgressRecord record) {
  commons_.records.add(machine_, box_, std::move(record));
}

void EgressBox::enter(Passage& passage) {
  passages_.insert(&passage);
  ++commons_.open;
}

void EgressBox::leave(Passage& passage) {
  passages_.erase(&passage);
  --commons_.open;
}

std::optional<policy::Decision> EgressBox::over_limit() {
  using policy::Decision;
  const auto& limits = policy_.limits;
  auto most = limits.connections > 0 ? static_cast<size_t>(limits.connections) : kMostOpen;
  if (passages_.size() >= std::min(most, kMostOpen))
    return Decision::deny("limits.connections", "too many connections are open", "");
  if (!connects_.take(Clock::now()))
    return Decision::deny("limits.connects", "connections are opened too fast", "");
  if (traffic_.spent())
    return Decision::deny("limits.bytes", "the box has used up all bytes it may move", "");
  // No box has more than what is left for all others, so there is always something left.
  if (passages_.size() >= commons_.most_open - commons_.open)
    return Decision::deny("limits.gate", "the gate has no room for more connections", "");
  return std::nullopt;
}

void EgressBox::note_over_limit(const policy::Decision& decision) {
  // Without its destination: however many places a box floods, this is one record.
  EgressRecord denied;
  denied.kind = "tcp";
  denied.verdict = "denied";
  denied.rule = decision.rule;
  denied.reason = decision.reason;
  record(std::move(denied));
}

bool EgressBox::take(Fd connection) {
  if (auto refused = over_limit()) {
    note_over_limit(*refused);
    reset_socket(connection.get());
    return false;
  }
  auto client = http::make_stream(executor_, std::move(connection));
  tasks_.spawn("egress connection", pass(shared_from_this(), std::move(client)));
  return true;
}

Task<void> EgressBox::pass(std::shared_ptr<EgressBox> box, http::Stream client) {
  Passage passage(*box, std::move(client));
  co_await passage.run();
}

Task<void> EgressBox::accept_all(SharedSocket listener) {
  int taken = 0, refused = 0;
  bool in_trouble = false;
  while (listener->is_open()) {
    int accepted = ::accept4(listener->native_handle(), nullptr, nullptr,
                             SOCK_CLOEXEC | SOCK_NONBLOCK);
    int os_error = errno;
    if (accepted >= 0) {
      refused = take(Fd(accepted)) ? 0 : refused + 1;
      if (++taken % kAcceptsPerTurn != 0) continue;
      if (refused >= kAcceptsPerTurn)
        co_await sleep_for(kFloodPause);
      else
        co_await asio::post(executor_, asio::use_awaitable);
    } else if (os_error == EAGAIN) {
      taken = refused = 0;
      in_trouble = false;
      co_await listener->async_wait(asio::posix::stream_descriptor::wait_read,
                                    asio::use_awaitable);
    } else if (os_error != ECONNABORTED && os_error != EINTR) {
      // No descriptor is left, most likely.
      if (!std::exchange(in_trouble, true))
        log_warn("egress_accept_failed", {{"machine", machine_}, {"errno", os_error}});
      co_await sleep_for(kTroublePause);
    }
  }
}

}  // namespace hako::gate
