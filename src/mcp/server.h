// The protocol: which message gets which answer.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "base/async/task.h"
#include "base/async/turn_queue.h"
#include "mcp/message.h"
#include "mcp/upstream.h"

namespace hako::mcp {

/// Answers requests of any number of clients; knows of each only what is under way.
/// Thread: one executor.
class Server {
 public:
  /// Takes a notification for the client. Does not wait.
  using Notify = std::function<void(boost::json::object message)>;

  /// One message of a client, in that client's name. `conversation`: tells clients apart, as ids of
  /// requests need be unique in one only. The answer to a request; nothing for all else, and for a
  /// request that the client has cancelled.
  /// Cancel: safe; a command that runs in a box goes on there.
  Task<std::optional<boost::json::object>> handle(Message message, std::string conversation,
                                                  Upstream upstream, Notify notify);
  /// Ends what a conversation has under way, commands in boxes included. Does not wait.
  void end(const std::string& conversation);

 private:
  struct Running {
    Condition changed;
    bool ended = false;
  };
  /// Known as long as it runs.
  class Place;

  Task<std::optional<boost::json::object>> call_tool(const Message& message,
                                                     const std::string& conversation,
                                                     const Upstream& upstream,
                                                     const Notify& notify);
  void cancel(const std::string& conversation, const boost::json::object& params);

  std::map<std::string, std::shared_ptr<Running>> running_;
};

/// The methods that are answered at once.
boost::json::object answer_to_initialize(const Message& message);
boost::json::object answer_to_list(const Message& message);

}  // namespace hako::mcp
