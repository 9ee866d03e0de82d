#include "gate/egress.h"

#include <sys/resource.h>
#include <sys/socket.h>

#include <algorithm>

namespace hako::gate {
namespace {

constexpr auto kIdleCheckInterval = std::chrono::seconds(10);
/// Quotas are held by what was told, so this is about what goes beyond them.
constexpr auto kTellMovedInterval = std::chrono::seconds(1);
/// A connection has at most two sockets and two pipes; as much again stays free for requests.
constexpr size_t kDescriptorsEach = 6;
constexpr size_t kMostPassages = 64 << 10;

size_t descriptors() {
  rlimit limit{};
  return ::getrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_cur : 1024;
}

size_t most_open() {
  return std::min<size_t>(kMostPassages, descriptors() / 2 / kDescriptorsEach);
}

/// Of the other half of the descriptors at most one half.
size_t most_asked() {
  return std::min<size_t>(Resolver::kMostAtOnce, descriptors() / 4 / Resolver::kDescriptorsEach);
}

Result<void> check_type(const Fd& socket, int type) {
  int actual = 0;
  socklen_t size = sizeof actual;
  if (::getsockopt(socket.get(), SOL_SOCKET, SO_TYPE, &actual, &size) != 0 || actual != type)
    return Error(ErrorCode::invalid_argument, "not the sockets of an egress");
  return ok();
}

}  // namespace

Egress::Egress(asio::any_io_executor executor, MachineTable& table,
               std::vector<DnsServer> resolvers, OwnAddresses own, BrokerLink& broker,
               tls::Client& upstream_tls, SendRecords send)
    : executor_(executor),
      resolver_(executor, std::move(resolvers), most_asked()),
      records_(std::move(send)),
      own_(std::move(own)),
      commons_{table, resolver_, records_, own_, broker, upstream_tls},
      tasks_(executor) {
  commons_.most_open = most_open();
}

EgressBox& Egress::box_of(const std::string& machine) {
  auto& box = boxes_[machine];
  if (!box) box = std::make_shared<EgressBox>(executor_, commons_, machine);
  return *box;
}

Result<void> Egress::listen(const std::string& machine, EgressSockets sockets) {
  HAKO_TRYV(check_type(sockets.listener, SOCK_STREAM));
  HAKO_TRYV(check_type(sockets.dns, SOCK_DGRAM));
  box_of(machine).listen(std::move(sockets));
  return ok();
}

void Egress::set_policy(const std::string& machine, std::string box,
                        policy::EgressPolicy policy) {
  box_of(machine).set_policy(std::move(box), std::move(policy));
}

void Egress::remove(std::string machine) {
  auto found = boxes_.find(machine);
  if (found == boxes_.end()) return;
  BoxRef box = std::move(found->second);
  boxes_.erase(found);
  box->close();
  // Before the node hears that the machine has gone: it takes no records of others.
  records_.send_of(machine);
  tasks_.spawn("egress of a machine that has gone", retire(std::move(box)));
}

void Egress::secrets_changed(const std::string& box) {
  for (auto& [machine, egress] : boxes_)
    if (box.empty() || egress->id() == box) egress->secrets_changed();
}

Task<void> Egress::retire(BoxRef box) {
  co_await shield_from_cancellation();
  co_await box->stop();
}

Task<void> Egress::sweep() {
  for (;;) {
    co_await sleep_for(kIdleCheckInterval);
    for (auto& [machine, box] : boxes_) box->cut_idle();
  }
}

Task<void> Egress::tell_moved() {
  for (;;) {
    co_await sleep_for(kTellMovedInterval);
    for (auto& [machine, box] : boxes_) box->tell_moved();
  }
}

Task<void> Egress::run() {
  tasks_.spawn("egress: idle connections", sweep());
  tasks_.spawn("egress: bytes moved", tell_moved());
  std::exception_ptr stopped;
  try {
    co_await records_.run();
  } catch (...) {
    stopped = std::current_exception();
  }
  co_await shield_from_cancellation();
  while (!boxes_.empty()) remove(boxes_.begin()->first);
  co_await tasks_.stop();
  std::rethrow_exception(stopped);
}

}  // namespace hako::gate
