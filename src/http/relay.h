// Passing one exchange on to another server.
#pragma once

#include <functional>

#include "http/client.h"
#include "http/server.h"

namespace hako::http {

enum class RelayOutcome {
  reusable,     ///< done; the upstream connection may carry another request
  finished,     ///< done; the upstream connection is used up
  refused,      ///< upstream broke before any byte of a response: nothing was sent to the client
  cut,          ///< upstream broke in mid-response: the client was cut off too
  client_gone,  ///< the client went away: upstream was cut
  stopped,      ///< the watcher did not let the request go on: upstream was cut, the client has
                ///< been told nothing
};

/// Changes the head of a final response before the client gets it.
using HeadEdit = std::function<void(ResponseHead&)>;

/// Which protocols an exchange may become.
enum class Upgrades {
  any,
  websocket,  ///< wishes for others are removed from requests, servers that switch to one are cut
};

/// Sees what an exchange is made of, as it passes.
class RelayWatcher {
 public:
  virtual ~RelayWatcher() = default;
  /// The next piece of the request's body, before it is passed on; empty: it has ended. Whether it
  /// may be passed on.
  virtual bool sent(std::string_view piece) = 0;
  virtual void answered(unsigned status) = 0;
  /// So many bytes of the response's body.
  virtual void received(size_t bytes) = 0;

  /// The request's body could not be read any further.
  virtual void failed(const Error& error) { (void)error; }
  /// The final response's head as the client would get it, to be changed at will. False: the client
  /// gets nothing of it, and the exchange is stopped.
  virtual bool answering(ResponseHead& head) {
    (void)head;
    return true;
  }
  /// The next piece of the response's body; empty: it has ended. What the client gets in its place,
  /// good until the next call, and as long in all as the body was. Nothing: the client is cut off.
  virtual std::optional<std::string_view> passing(std::string_view piece) { return piece; }
  /// The server has switched to another protocol: its stream, and what came from it already.
  virtual void switched(Stream& upstream, std::string& pending) {
    (void)upstream;
    (void)pending;
  }
};

/// Sends `exchange`'s request, with `head` in place of its own head, over `upstream`, and streams
/// the response back as it comes, with back-pressure both ways. Hop-by-hop headers are removed;
/// upgrades (101, WebSockets) become a byte tunnel. Bodies of any length; nothing is gathered.
/// Framing is written anew on both sides, so a strange message cannot smuggle another.
/// `watcher` is told nothing of what follows an upgrade. `body`: the request's, where it has been read
/// off the exchange already.
Task<RelayOutcome> relay(Exchange& exchange, RequestHead head, Client& upstream,
                         HeadEdit edit = {}, Upgrades upgrades = Upgrades::any,
                         RelayWatcher* watcher = nullptr, const std::string* body = nullptr);

/// Copies bytes both ways until both directions have ended or one breaks.
Task<void> tunnel(Stream a, std::string pending_from_a, Stream b, std::string pending_from_b);

}  // namespace hako::http
