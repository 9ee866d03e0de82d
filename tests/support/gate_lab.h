// A real hako-gate between a test's own node and a guest's daemon in a namespace of its own.
#pragma once

#include <map>
#include <string>

#include "base/async/task_group.h"
#include "base/process.h"
#include "http/client.h"
#include "network/slot.h"
#include "rpc/peer.h"

namespace hako::test {

/// A process in a network namespace where the guest's address is local. It answers as scripted in
/// gate_lab.cpp, on the daemon's port and on kServicePort.
class ScriptedGuest {
 public:
  static constexpr uint16_t kServicePort = 8080;
  static constexpr uint16_t kLoopbackPort = 8082;  ///< a service on 127.0.0.1 only

  enum class Kind {
    modern,
    without_relay,  ///< an old one: nobody relays to its loopback address
    with_bad_relay  ///< its relay answers rubbish
  };
  explicit ScriptedGuest(Kind kind = Kind::modern);
  ~ScriptedGuest();
  ScriptedGuest(const ScriptedGuest&) = delete;

  std::vector<Fd> sockets(int count) const;
  /// TCP connections to `port` in the guest's namespace that are not closed on its side.
  int open_connections(uint16_t port) const;
  int established_connections(uint16_t port) const;

 private:
  int count_connections(uint16_t port, bool (*counts)(int state)) const;
  pid_t pid_ = -1;
  network::Slot slot_;
};

/// The node's end of the gate's socket.
class TestNode {
 public:
  explicit TestNode(std::string socket_path, gid_t gate);

  Task<void> serve();  ///< until cancelled
  /// Waits for a gate to be connected.
  Task<void> wait_for_gate();
  void disconnect();
  bool connected() const { return peer_ != nullptr; }
  int connections() const { return connections_; }

  Task<Result<boost::json::object>> order(std::string method, boost::json::object body,
                                          std::vector<Fd> fds = {});
  Task<Result<boost::json::object>> add(std::string machine, const ScriptedGuest& guest);
  /// A machine without a guest's daemon, whose egress comes to sockets in `slot`.
  Task<Result<boost::json::object>> add_egress(std::string machine, const network::Slot& slot);
  Task<Result<boost::json::object>> publish(std::string machine, std::string box,
                                            std::string token = {},
                                            boost::json::object ingress = {},
                                            boost::json::object egress = {});
  int sockets_given() const { return given_; }
  /// What the gate has told about what left boxes; each with "machine" and "box".
  std::vector<boost::json::object>& egress_records() { return records_; }
  /// What the gate has told about what was done in boxes; the same.
  std::vector<boost::json::object>& access_records() { return access_records_; }

 private:
  Task<void> accept(Fd connection);
  Task<Result<rpc::Payload>> give_sockets(rpc::Payload request);
  using Records = std::vector<boost::json::object>;
  static Task<Result<rpc::Payload>> take_records(rpc::Payload told, Records& into);

  Fd listener_;
  uid_t gate_;
  std::shared_ptr<rpc::Peer> peer_;
  std::map<std::string, const ScriptedGuest*> guests_;
  Records records_, access_records_;
  int given_ = 0;
  int connections_ = 0;
};

/// The gate's process, its port and its folder.
class GateProcess {
 public:
  /// `settings`: what follows "[gate]" in its configuration. `variables`: of its environment.
  GateProcess(asio::any_io_executor executor, const std::string& directory,
              const std::string& settings, std::string program = HAKO_GATE_PROGRAM,
              std::vector<std::string> variables = {});
  uint16_t port() const { return port_; }
  Process& process() { return *process_; }

 private:
  uint16_t port_ = 0;
  std::optional<Process> process_;
};

}  // namespace hako::test
