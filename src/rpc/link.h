// Connections that last: kept up by the end that connects, told all alike by the end that listens.
#pragma once

#include "rpc/peer.h"

namespace hako::rpc {

/// What the end that connects does with each connection.
struct Link {
  std::string path;  ///< the other end's socket
  /// Before it is served: adds handlers, keeps the peer to call it by.
  std::function<void(const std::shared_ptr<Peer>& peer)> begin;
  std::function<void()> end;
  /// Nobody is there; once until somebody is.
  std::function<void(const Error& error)> unreachable = {};
};

/// Connects, and again whenever the connection ends, until cancelled. Between two tries it pauses
/// from 20 ms up to a second. When cancelled it stops `tasks`, which go on with what the connections
/// brought, waits for them, and throws operation_aborted.
Task<void> keep_connected(Link link, TaskGroup& tasks);

/// Those who are connected to a socket of ours. Thread: one executor.
class Peers {
 public:
  /// Adds handlers to one that has connected, and tells it what it is to know first. False: it is
  /// let go.
  using Begin = std::function<bool(Peer& peer)>;

  /// Serves all who connect, root or `uid`, until cancelled.
  Task<void> serve(Fd listener, uid_t uid, Begin begin);
  /// Whoever takes no more is let go.
  void tell_all(const char* method, const boost::json::object& body);

 private:
  Task<void> serve_one(Fd connection, const Begin& begin);

  std::vector<std::weak_ptr<Peer>> peers_;
};

}  // namespace hako::rpc
