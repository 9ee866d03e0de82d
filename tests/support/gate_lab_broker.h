// The api's end of broker.sock, as a test wants it to be.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/async/task_group.h"
#include "rpc/peer.h"

namespace hako::test {

/// Hands out what it was given, and writes down what it is asked.
class TestBroker {
 public:
  TestBroker(std::string socket_path, uid_t gate);

  Task<void> serve();  ///< until cancelled
  Task<void> wait_for_gate();
  void disconnect();
  bool connected() const { return peer_ != nullptr; }
  void changed(const std::string& box);

  std::map<std::string, boost::json::object> boxes;  ///< answers to intercept.get; others: not_found
  int asked = 0;                                      ///< intercept.get
  std::vector<boost::json::object> reserved, settled;
  std::optional<Error> refusal;  ///< of model.reserve

 private:
  using Answer = Task<Result<rpc::Payload>>;

  Task<void> accept(Fd connection);
  Answer get(rpc::Payload question);
  Answer reserve(rpc::Payload question);
  Answer settle(rpc::Payload question);

  Fd listener_;
  uid_t gate_;
  std::shared_ptr<rpc::Peer> peer_;
};

}  // namespace hako::test
