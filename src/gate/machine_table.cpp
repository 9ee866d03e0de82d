#include "gate/machine_table.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>

#include "base/log.h"
#include "gate/guest_connection.h"
#include "wire/json_text.h"
#include "wire/routing.h"

namespace hako::gate {
namespace {

/// Below this many sockets more are asked for.
constexpr size_t kLowStock = 2;
constexpr int kRefill = 8;
/// As many as the node gives for one message.
constexpr int kLargestRefill = 32;
constexpr auto kSocketPatience = std::chrono::seconds(5);
/// After a refusal nobody asks again for so long.
constexpr auto kRefusalPause = std::chrono::milliseconds(500);
constexpr auto kSweepInterval = std::chrono::seconds(5);

/// The wall clock may be set forward meanwhile.
constexpr Duration kLongestNap = std::chrono::seconds(10);

/// Of the guest that a socket leads to; 0 while it is not connected.
uint16_t remote_port(int fd) {
  sockaddr_in peer{};
  socklen_t size = sizeof peer;
  // SAFETY: the kernel writes at most `size` bytes of an address.
  if (::getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &size) != 0) return 0;
  return ntohs(peer.sin_port);
}

/// Resets what goes on by a grant that does not let it in any more.
void cut_unless_held(Machine& machine, WallTime now) {
  const Grants none;
  const Grants& grants = machine.ingress.grants ? *machine.ingress.grants : none;
  std::erase_if(machine.admitted, [&](const auto& entry) {
    if (still_hold(grants, entry.second, now)) return false;
    reset_socket(entry.first);
    return true;
  });
}

}  // namespace

Result<std::optional<Ingress>> parse_ingress(const boost::json::object& body) {
  HAKO_TRY(auto reached, wire::object_member(body, "ingress"));
  if (!reached) return std::nullopt;
  HAKO_TRY(auto traffic_token, wire::string_member(*reached, "traffic_token"));
  HAKO_TRY(auto mask_host, wire::string_member(*reached, "mask_host"));
  Ingress ingress{traffic_token.value_or(""), mask_host.value_or(""), std::nullopt};
  if (auto* list = wire::find_member(*reached, "grants")) {
    HAKO_TRY(auto grants, parse_grants(*list));
    ingress.grants = std::move(grants);
  }
  return ingress;
}

Result<void> MachineTable::add(const std::string& id, const std::string& address,
                               std::vector<Fd> sockets) {
  boost::system::error_code error;
  auto ip = asio::ip::make_address(address, error);
  if (error) return Error(ErrorCode::invalid_argument, "not an address: " + address);
  auto& machine = machines_[id];
  if (!machine) {
    if (machines_.size() > kMostMachines) {
      machines_.erase(id);
      return Error(ErrorCode::resource_exhausted, "too many machines");
    }
    machine = std::make_shared<Machine>();
    machine->id = id;
    machine->expiries = expiries_;
  }
  machine->address = ip;
  machine->epoch = epoch_;
  // One that is told of anew, by another node or after a pause, comes with its first sockets again.
  machine->stock.clear();
  return add_sockets(id, std::move(sockets));
}

Result<void> MachineTable::add_sockets(const std::string& id, std::vector<Fd> sockets) {
  auto machine = find(id);
  if (!machine) return Error(ErrorCode::not_found, "no machine " + id);
  for (Fd& socket : sockets) give_back(*machine, std::move(socket));
  machine->stocked.notify_all();
  return ok();
}

void MachineTable::give_back(Machine& machine, Fd socket) {
  if (!machine.removed && machine.stock.size() < kMostStock)
    machine.stock.push_back(std::move(socket));
}

void MachineTable::cut(Machine& machine) {
  machine.removed = true;
  for (auto& client : machine.idle) http::reset_connection(client.stream());
  machine.idle.clear();
  for (int fd : machine.live) reset_socket(fd);
  machine.stock.clear();
  machine.asking = false;
  machine.stocked.notify_all();
}

Result<void> MachineTable::remove(const std::string& id) {
  auto found = machines_.find(id);
  if (found == machines_.end()) return Error(ErrorCode::not_found, "no machine " + id);
  auto machine = found->second;
  machines_.erase(found);
  auto box = boxes_.find(machine->box);
  if (box != boxes_.end() && box->second == machine) boxes_.erase(box);
  cut(*machine);
  if (removed_) removed_(id);
  return ok();
}

Result<void> MachineTable::publish(const std::string& id, const std::string& box,
                                   std::string access_token, Ingress ingress) {
  auto machine = find(id);
  if (!machine) return Error(ErrorCode::not_found, "no machine " + id);
  if (!machine->box.empty() && machine->box != box) {
    auto former = boxes_.find(machine->box);
    if (former != boxes_.end() && former->second == machine) boxes_.erase(former);
  }
  machine->box = box;
  machine->access_token = std::move(access_token);
  change_ingress(*machine, std::move(ingress));
  boxes_[box] = machine;
  return ok();
}

void MachineTable::change_ingress(Machine& machine, Ingress ingress) {
  bool other_token = ingress.traffic_token != machine.ingress.traffic_token ||
                     (!ingress.traffic_token.empty() &&
                      ingress.grants.has_value() != machine.ingress.grants.has_value());
  machine.ingress = std::move(ingress);
  if (other_token) {
    for (int fd : machine.live)
      if (!machine.admitted.contains(fd) && remote_port(fd) != wire::kDaemonPort) reset_socket(fd);
  }
  cut_unless_held(machine, WallClock::now());
}

WallTime MachineTable::cut_expired(WallTime now) {
  WallTime next = WallTime::max();
  for (auto& [id, machine] : machines_) {
    cut_unless_held(*machine, now);
    for (const auto& [fd, admission] : machine->admitted)
      if (admission.expires) next = std::min(next, *admission.expires);
  }
  return next;
}

Task<void> MachineTable::end_expired() {
  auto wait_for_sooner = [](Expiries& expiries) -> Task<Result<void>> {
    co_await expiries.sooner.wait();
    co_return ok();
  };
  for (;;) {
    WallTime now = WallClock::now();
    expiries_->next = cut_expired(now);
    if (expiries_->next == WallTime::max()) {
      co_await expiries_->sooner.wait();
      continue;
    }
    Duration left = std::min<Duration>(expiries_->next - now, kLongestNap);
    auto sooner = wait_for_sooner(*expiries_);
    (void)co_await with_deadline(left, std::move(sooner));
  }
}

MachineRef MachineTable::find(const std::string& id) const {
  auto found = machines_.find(id);
  return found == machines_.end() ? nullptr : found->second;
}

MachineRef MachineTable::find_box(const std::string& box) const {
  auto found = boxes_.find(box);
  return found == boxes_.end() ? nullptr : found->second;
}

Task<void> MachineTable::refill(MachineRef machine) {
  int count = std::clamp(machine->waiting, kRefill, kLargestRefill);
  auto sockets = co_await source_(machine->id, count);
  if (sockets) {
    for (Fd& socket : sockets.value()) give_back(*machine, std::move(socket));
  } else if (!machine->removed) {
    log_warn("sockets_refused", {{"machine", machine->id}, {"error", sockets.error().message()}});
    co_await sleep_for(kRefusalPause);
  }
  machine->asking = false;
  machine->stocked.notify_all();
}

void MachineTable::ask_for_more(const MachineRef& machine) {
  if (machine->asking || machine->removed) return;
  machine->asking = true;
  tasks_.spawn("refill sockets", refill(machine));
}

Task<Result<void>> MachineTable::wait_for_stock(MachineRef machine) {
  struct Waiting {
    int& count;
    explicit Waiting(int& waiting) : count(waiting) { ++count; }
    ~Waiting() { --count; }
  } waiting(machine->waiting);
  // Those who wait may be more than one refill serves.
  while (machine->stock.empty() && !machine->removed) {
    ask_for_more(machine);
    co_await machine->stocked.wait();
  }
  co_return ok();
}

Task<Result<Fd>> MachineTable::take_socket(MachineRef machine, bool for_daemon) {
  size_t most = for_daemon ? kMostConnections + kForDaemon : kMostConnections;
  if (machine->live.size() + static_cast<size_t>(machine->waiting) >= most)
    co_return Error(ErrorCode::resource_exhausted, "too many connections to this sandbox");
  if (machine->stock.size() <= kLowStock) ask_for_more(machine);
  auto end = std::chrono::steady_clock::now() + kSocketPatience;
  while (machine->stock.empty() && !machine->removed) {
    auto wait = wait_for_stock(machine);
    auto waited = co_await with_deadline(end - std::chrono::steady_clock::now(), std::move(wait));
    if (!waited) co_return waited.error();
  }
  if (machine->removed)
    co_return Error(ErrorCode::unavailable, "machine " + machine->id + " has gone");
  Fd socket = std::move(machine->stock.front());
  machine->stock.pop_front();
  co_return socket;
}

Task<void> MachineTable::sweep() {
  for (;;) {
    co_await sleep_for(kSweepInterval);
    for (auto& [id, machine] : machines_)
      std::erase_if(machine->idle, [](http::Client& client) { return client.stale(); });
  }
}

void MachineTable::forget_older(uint64_t epoch) {
  if (epoch != epoch_) return;
  std::vector<std::string> old;
  for (const auto& [id, machine] : machines_)
    if (machine->epoch < epoch) old.push_back(id);
  for (const auto& id : old) {
    log_info("machine_forgotten", {{"machine", id}});
    (void)remove(id);
  }
}

}  // namespace hako::gate
