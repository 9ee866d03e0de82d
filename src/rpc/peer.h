// Typed messages between our own processes (api, node, gate), with descriptors.
#pragma once

#include <boost/json.hpp>

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "base/async/task_group.h"
#include "base/fd.h"

namespace hako::rpc {

/// One message's content: JSON and the descriptors that travel with it.
struct Payload {
  boost::json::object body;
  std::vector<Fd> fds;
};

/// Answers a request. What it returns goes back to the caller; an Error goes back as code and text.
/// Requests of one peer run beside each other; they start in the order in which they came.
using Handler = std::function<Task<Result<Payload>>(Payload)>;

/// One end of a unix stream connection. Both ends may call and answer.
/// Frame: u32 length of the JSON, u32 count of descriptors (little endian), JSON. The descriptors
/// ride on the frame's first byte. JSON: {"id":n,"method":s,"body":{}} asks,
/// {"id":n,"body":{}} or {"id":n,"error":{"code":s,"message":s}} answers, and
/// {"method":s,"body":{}} without an id tells without wanting an answer. An error has "errno":n if a
/// system call failed: then it is that host's, and not whoever asked's.
/// A frame over kLongestFrame, over kMostFds, or malformed ends the connection, and so do
/// descriptors that no frame declares, and a message without an id that nobody handles.
/// Thread: one executor.
class Peer {
 public:
  static constexpr size_t kLongestFrame = 8 << 20;
  static constexpr size_t kMostFds = 64;
  static constexpr size_t kMostRequestsAtOnce = 4096;
  static constexpr size_t kMostQueuedBytes = 64 << 20;

  Peer(asio::any_io_executor executor, Fd connection);
  /// Closes. run() and open calls may outlive this object; they end soon.
  ~Peer();
  Peer(const Peer&) = delete;
  Peer& operator=(const Peer&) = delete;

  /// Before run(). Unknown methods are answered with `unsupported`.
  void on(std::string method, Handler handler);
  /// Serves until the connection ends (or the task is cancelled), then fails all open calls with
  /// `unavailable`, and waits for running handlers after cancelling them. Cancel: safe; throws
  /// operation_aborted after all of that.
  Task<void> run();
  /// Answers arrive only while run() runs. Errors: those of the other side's handler; unavailable
  /// when the connection ends; timed_out; resource_exhausted while kMostQueuedBytes wait to be
  /// written; too_large. Cancel: safe, the answer is dropped when it comes.
  Task<Result<Payload>> call(std::string method, Payload payload, Duration deadline);
  /// Errors: unavailable, resource_exhausted, too_large.
  Result<void> tell(std::string method, Payload payload);
  /// Ends the connection: run() returns.
  void close();
  bool closed() const;

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

/// Listens on a unix socket at `path` (mode 0660, owned by root and group `gid`), replacing a stale
/// one. already_exists if another process is listening there.
Result<Fd> listen_unix(const std::string& path, gid_t gid, mode_t mode = 0660);
/// Accepts until cancelled; hands each connection to `serve`, with the uid of the other end as the
/// kernel tells it (SO_PEERCRED). At most 1024 at once. When cancelled it first cancels what
/// `serve` started and waits for it, then throws operation_aborted. Peers whose uid is neither root
/// nor in `allowed_uids` are dropped.
Task<void> accept_peers(Fd listener, std::vector<uid_t> allowed_uids,
                        std::function<Task<void>(Fd connection, uid_t uid)> serve);
/// unavailable if nobody listens there. Ends within a second or so.
Task<Result<Fd>> connect_unix(std::string path);

}  // namespace hako::rpc
