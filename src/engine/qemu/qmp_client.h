// A connection to a VMM's control socket.
#pragma once

#include <deque>
#include <vector>

#include "base/async/task.h"
#include "base/fd.h"
#include "engine/qemu/qmp.h"

namespace hako::engine::qmp {

struct Command {
  std::string name;
  boost::json::object arguments;
};

/// One connection. Calls must not overlap. Nothing is read between calls: what the VMM sends
/// meanwhile waits in the socket and, past its buffer, in the VMM's own memory.
/// After an error other than failed_precondition or timed_out the connection is of no more use.
/// Cancel: safe; a reply that comes too late is skipped by the next call.
class Client {
 public:
  /// Connects at once, without waiting for the VMM to accept: the socket only has to listen.
  /// Errors: not_found, unavailable (nobody listens), timed_out (it leaves others waiting), or the
  /// OS error.
  static Result<Client> connect(asio::any_io_executor executor, const std::string& path);

  /// Sends all commands in one write and waits for all replies; the VMM runs them in order, also
  /// those behind one that failed. `fd`: passed along with them, for the `getfd` among them.
  /// Errors: failed_precondition (the first refusal, with the VMM's text), timed_out,
  /// unavailable (the VMM has closed the connection), corrupted.
  Task<Result<std::vector<boost::json::value>>> call_all(std::vector<Command> commands,
                                                         Duration limit, int fd = -1);
  Task<Result<boost::json::value>> call(Command command, Duration limit, int fd = -1);

  /// Waits for the event `name` whose data has `status` among `statuses`; returns that status.
  /// Events seen by earlier calls count, the oldest first; those before the match are dropped.
  Task<Result<std::string>> wait_status(std::string name, std::vector<std::string> statuses,
                                        Duration limit);

 private:
  explicit Client(asio::local::stream_protocol::socket socket) : socket_(std::move(socket)) {}
  Task<Result<std::vector<boost::json::value>>> exchange(std::vector<Command> commands, int fd);
  Task<Result<std::string>> await_status(std::string name, std::vector<std::string> statuses);
  Task<Result<void>> send(std::string bytes, int fd);
  Task<Result<Message>> receive();
  void keep(Event event);

  asio::local::stream_protocol::socket socket_;
  Parser parser_;
  int64_t next_id_ = 1;
  std::deque<Event> events_;
};

}  // namespace hako::engine::qmp
