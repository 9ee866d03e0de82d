// The API's certificate, whose files only the node can read.
#pragma once

#include "api/node_link.h"
#include "base/async/turn_queue.h"
#include "tls/server.h"

namespace hako::api {

/// Asks the node for what [api] certificate and key hold, again and again, and has `server` use it.
/// Files that are of no use change nothing; the log says what is wrong with them, once. Does
/// nothing where none are named. Thread: one executor.
class Certificate {
 public:
  Certificate(bool configured, NodeLink& node, tls::Server& server)
      : configured_(configured), node_(node), server_(server) {}

  /// Asks now: when the node has connected.
  Task<void> fetch();
  /// Asks again and again, until cancelled.
  Task<void> watch(Duration every);
  /// Returns when there is a certificate, or none is configured. Cancel: safe.
  Task<void> wait_until_usable();

 private:
  void use(const std::string& certificate, const std::string& key);
  void tell_problem(std::string problem);

  bool configured_;
  NodeLink& node_;
  tls::Server& server_;
  Condition came_;
  std::pair<std::string, std::string> last_;  ///< what the node said last, of use or not
  std::string problem_;                       ///< what was logged last
};

}  // namespace hako::api
