// The machines behind this gate and the sockets that lead to them.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <set>

#include "base/async/task_group.h"
#include "base/async/turn_queue.h"
#include "gate/grants.h"
#include "http/client.h"

namespace hako::gate {

/// How a box is reached. Chosen by the box's owner.
struct Ingress {
  /// Empty when anybody may come in to the ports that are not the daemon's. Otherwise a request must
  /// show it, or, if there is a list of grants, one that is good for ports.
  std::string traffic_token;
  std::string mask_host;  ///< what Host becomes there, "${PORT}" being the port; empty to leave it
  /// Who may ask the daemon, where that has a token. None at all, which is not the same as an empty
  /// list: whoever shows the daemon's own.
  std::optional<Grants> grants;
};

/// Reads the member `ingress` of a message; nothing if it has none. invalid_argument.
Result<std::optional<Ingress>> parse_ingress(const boost::json::object& body);

/// When the first of the connections that are in use must end, for all machines together.
struct Expiries {
  WallTime next = WallTime::max();
  Condition sooner;  ///< `next` is now before what it was
};

/// One VM. Shared between the table and whoever talks to the guest just now.
struct Machine {
  std::string id;
  asio::ip::address address;
  std::string box;           ///< empty until published
  std::string access_token;  ///< of the box's daemon; may be empty
  Ingress ingress;
  std::deque<Fd> stock;            ///< unconnected sockets inside its namespace
  std::vector<http::Client> idle;  ///< kept-alive connections to the daemon
  std::set<int> live;              ///< descriptors of connections in use
  std::map<int, Admission> admitted;  ///< those of them that go on by a grant
  std::shared_ptr<Expiries> expiries;
  size_t peeked = 0;  ///< bytes of requests' messages kept until they are whole
  bool removed = false;
  bool asking = false;  ///< more sockets are on their way
  int waiting = 0;      ///< who found no socket in stock
  uint64_t epoch = 0;   ///< in which connection with the node it was last announced
  Condition stocked;
};
using MachineRef = std::shared_ptr<Machine>;

/// Thread: one executor.
class MachineTable {
 public:
  static constexpr size_t kMostMachines = 4096;
  static constexpr size_t kMostStock = 64;
  static constexpr size_t kMostIdle = 16;
  static constexpr size_t kMostConnections = 512;  ///< in use, per machine
  static constexpr size_t kForDaemon = 128;        ///< beyond these, for its daemon only

  /// Asks the node for sockets inside a machine's namespace.
  using SocketSource = std::function<Task<Result<std::vector<Fd>>>(std::string machine, int count)>;

  /// Told of each machine that goes.
  using Removed = std::function<void(const std::string& machine)>;

  MachineTable(TaskGroup& tasks, SocketSource source) : tasks_(tasks), source_(std::move(source)) {}

  void on_removed(Removed removed) { removed_ = std::move(removed); }

  /// A machine known already gets the sockets; its connections go on.
  /// resource_exhausted, invalid_argument.
  Result<void> add(const std::string& id, const std::string& address, std::vector<Fd> sockets);
  /// Resets all connections of the machine, and thereby those of the clients they serve.
  /// not_found.
  Result<void> remove(const std::string& id);
  /// Requests for `box` go to machine `id` from now on. not_found.
  Result<void> publish(const std::string& id, const std::string& box, std::string access_token,
                       Ingress ingress = {});
  /// Resets the connections that go on by a grant which is no more, or no longer good for them, and,
  /// if another traffic token is asked for from now on, those to its ports that are nobody's grant's.
  static void change_ingress(Machine& machine, Ingress ingress);
  Result<void> add_sockets(const std::string& id, std::vector<Fd> sockets);

  MachineRef find(const std::string& id) const;
  MachineRef find_box(const std::string& box) const;
  const std::map<std::string, MachineRef>& boxes() const { return boxes_; }

  /// An unconnected socket inside the machine's namespace. Some are kept for its daemon, so that
  /// whoever fills a port does not lock the owner out. resource_exhausted, unavailable, timed_out.
  Task<Result<Fd>> take_socket(MachineRef machine, bool for_daemon);
  /// Puts back one that has not been connected.
  static void give_back(Machine& machine, Fd socket);

  /// Resets connections whose grant has expired, at that moment, until cancelled.
  Task<void> end_expired();
  /// Closes kept connections that guests have closed, now and then, until cancelled.
  Task<void> sweep();

  /// A new connection with the node begins: it will announce what there is.
  uint64_t begin_epoch() { return ++epoch_; }
  /// Removes what was not announced in `epoch`, which must still be the latest.
  void forget_older(uint64_t epoch);

 private:
  void ask_for_more(const MachineRef& machine);
  Task<void> refill(MachineRef machine);
  Task<Result<void>> wait_for_stock(MachineRef machine);
  void cut(Machine& machine);
  WallTime cut_expired(WallTime now);

  TaskGroup& tasks_;
  SocketSource source_;
  Removed removed_;
  std::shared_ptr<Expiries> expiries_ = std::make_shared<Expiries>();
  std::map<std::string, MachineRef> machines_;
  std::map<std::string, MachineRef> boxes_;
  uint64_t epoch_ = 0;
};

}  // namespace hako::gate
