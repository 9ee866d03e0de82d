#include "gate/guest_connection.h"

#include <sys/socket.h>

#include <cerrno>

#include "wire/loopback.h"
#include "wire/routing.h"

namespace hako::gate {
namespace {

using boost::system::error_code;

void disconnect(int fd) {
  sockaddr nowhere{};
  nowhere.sa_family = AF_UNSPEC;
  ::connect(fd, &nowhere, sizeof nowhere);
}

/// A socket on its way to a guest: known to its machine, and back in the stock if it does not
/// get there.
class Attempt {
 public:
  Attempt(asio::any_io_executor executor, MachineRef machine, Fd socket)
      : machine_(std::move(machine)), stream_(http::make_stream(executor, std::move(socket))) {
    machine_->live.insert(stream_.native_handle());
  }
  Attempt(const Attempt&) = delete;
  Attempt& operator=(const Attempt&) = delete;

  ~Attempt() {
    if (!stream_.is_open()) return;
    machine_->live.erase(stream_.native_handle());
    error_code ignored;
    Fd socket(stream_.release(ignored));
    disconnect(socket.get());
    linger patiently{0, 0};  // whoever reset it has set this
    ::setsockopt(socket.get(), SOL_SOCKET, SO_LINGER, &patiently, sizeof patiently);
    MachineTable::give_back(*machine_, std::move(socket));
  }

  Task<Result<void>> connect(uint16_t port) {
    asio::generic::stream_protocol::endpoint endpoint(
        asio::ip::tcp::endpoint(machine_->address, port));
    error_code error;
    co_await stream_.async_connect(endpoint, asio::redirect_error(asio::use_awaitable, error));
    if (error == asio::error::operation_aborted) throw boost::system::system_error(error);
    if (error) co_return Error::from_errno(error.value(), "connect to the guest");
    co_return ok();
  }

  /// To a service that listens on the guest's loopback address only. ECONNREFUSED when there is
  /// none, or a guest that does not know how to relay.
  Task<Result<void>> connect_loopback(uint16_t port) {
    HAKO_CO_TRYV(co_await connect(wire::kLoopbackRelayPort));
    const char wanted[2] = {static_cast<char>(port >> 8), static_cast<char>(port & 0xff)};
    error_code error;
    // Two bytes fit into any send buffer that has just been made.
    co_await stream_.async_write_some(asio::buffer(wanted),
                                      asio::redirect_error(asio::use_awaitable, error));
    char answer = wire::kLoopbackRefused;
    if (!error) {
      co_await stream_.async_read_some(asio::buffer(&answer, 1),
                                       asio::redirect_error(asio::use_awaitable, error));
    }
    if (error == asio::error::operation_aborted) throw boost::system::system_error(error);
    if (error || answer != wire::kLoopbackConnected)
      co_return Error::from_errno(ECONNREFUSED, "connect to the guest's loopback");
    co_return ok();
  }

  void start_over() { disconnect(stream_.native_handle()); }

  GuestConnection connected() {
    machine_->live.erase(stream_.native_handle());
    return GuestConnection(machine_, std::move(stream_), false);
  }

 private:
  MachineRef machine_;
  http::Stream stream_;
};

}  // namespace

void reset_socket(int fd) {
  linger at_once{1, 0};
  ::setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  disconnect(fd);
}

GuestConnection::Mark::Mark(MachineRef machine_ref, int socket)
    : machine(std::move(machine_ref)), fd(socket) {
  machine->live.insert(fd);
}

GuestConnection::Mark::Mark(Mark&& other) noexcept
    : machine(std::move(other.machine)), fd(std::exchange(other.fd, -1)) {}

GuestConnection::Mark::~Mark() {
  if (machine && fd >= 0) release();
}

void GuestConnection::Mark::release() {
  machine->live.erase(fd);
  machine->admitted.erase(fd);
  fd = -1;
}

void GuestConnection::go_on_by(Admission admission) {
  Machine& machine = *mark_.machine;
  WallTime expires = admission.expires.value_or(WallTime::max());
  machine.admitted[mark_.fd] = std::move(admission);
  if (expires >= machine.expiries->next) return;
  machine.expiries->next = expires;
  machine.expiries->sooner.notify_all();
}

GuestConnection::GuestConnection(MachineRef machine, http::Stream stream, bool reused)
    : GuestConnection(std::move(machine), http::Client(std::move(stream)), reused) {}

GuestConnection::GuestConnection(MachineRef machine, http::Client client, bool reused)
    : reused_(reused),
      client_(std::move(client)),
      mark_(std::move(machine), client_.stream().native_handle()) {}

void GuestConnection::keep(GuestConnection connection) {
  Machine& machine = *connection.mark_.machine;
  if (machine.removed || machine.idle.size() >= MachineTable::kMostIdle ||
      !connection.client_.reusable())
    return;
  connection.mark_.release();
  machine.idle.push_back(std::move(connection.client_));
}

Task<Result<GuestConnection>> dial(MachineTable& table, MachineRef machine, DialPlan plan) {
  HAKO_CO_TRY(auto socket, co_await table.take_socket(machine, plan.port == wire::kDaemonPort));
  Attempt attempt(co_await asio::this_coro::executor, machine, std::move(socket));
  for (int tried = 1;; ++tried) {
    auto connect = attempt.connect(plan.port);
    auto connected = co_await with_deadline(plan.patience, std::move(connect));
    if (machine->removed) co_return Error(ErrorCode::unavailable, "the machine has gone");
    if (connected) co_return attempt.connected();
    bool refused = connected.error().os_error() == ECONNREFUSED;
    if (refused && plan.loopback_too) {
      attempt.start_over();
      auto relay = attempt.connect_loopback(plan.port);
      connected = co_await with_deadline(plan.patience, std::move(relay));
      if (machine->removed) co_return Error(ErrorCode::unavailable, "the machine has gone");
      if (connected) co_return attempt.connected();
      refused = connected.error().os_error() == ECONNREFUSED;
    }
    if (!refused || tried >= plan.tries) co_return connected.error();
    attempt.start_over();
    co_await sleep_for(plan.first_pause * tried);
    if (machine->removed) co_return Error(ErrorCode::unavailable, "the machine has gone");
  }
}

Task<Result<GuestConnection>> daemon_connection(MachineTable& table, MachineRef machine,
                                                Duration patience) {
  while (!machine->idle.empty()) {
    http::Client client = std::move(machine->idle.back());
    machine->idle.pop_back();
    if (client.stale()) continue;
    co_return GuestConnection(machine, std::move(client), true);
  }
  DialPlan plan;
  plan.port = wire::kDaemonPort;
  plan.patience = patience;
  co_return co_await dial(table, machine, plan);
}

}  // namespace hako::gate
