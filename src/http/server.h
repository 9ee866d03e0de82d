// An HTTP/1.1 server on one executor: keep-alive, chunked bodies both ways, streaming responses.
#pragma once

#include <functional>
#include <memory>

#include "base/async/task_group.h"
#include "http/message.h"
#include "http/stream.h"

namespace hako::http {

struct ServerLimits {
  size_t header_bytes = 32 << 10;
  std::chrono::seconds idle{620};        ///< between requests
  std::chrono::seconds header_time{30};  ///< from the first byte of a head to its last
  std::chrono::seconds stall{600};       ///< one read or write of a body without any progress
  /// A further one takes the place of a connection that can be spared: of one for which no handler
  /// has vouched, or which waits for its next request. Where there is none, it gets 503 and is
  /// closed.
  size_t connections = 4096;
};

/// So many connections that each may take `each` descriptors, as half of what this process may
/// have, and no more than ServerLimits has by itself.
size_t connections_within_descriptors(size_t each);

/// One request and the response to it. Valid only inside the handler.
class Exchange {
 public:
  virtual ~Exchange() = default;
  virtual const RequestHead& head() const = 0;
  /// The other end's address text ("127.0.0.1"), empty for unix sockets.
  virtual std::string peer_address() const = 0;
  /// Its port; 0 for unix sockets.
  virtual uint16_t peer_port() const = 0;
  /// False once the connection has been reset or cut: nobody will see a response. One whose other
  /// end just sends no more still is.
  virtual bool connected() const = 0;
  /// Whether nobody between the two ends can read it (TLS).
  virtual bool is_encrypted() const = 0;

  /// The next piece of the (decoded) body; 0 at its end. Sends 100-continue first if asked for.
  virtual Task<Result<size_t>> read_some(asio::mutable_buffer into) = 0;
  /// Fields behind the body, once that has been read to its end. Nobody has checked them.
  virtual const Fields& trailers() const = 0;
  /// The rest of the body. too_large past `limit` bytes.
  virtual Task<Result<std::string>> read_body(size_t limit) = 0;

  /// A whole response at once.
  virtual Task<Result<void>> respond(Response response) = 0;
  /// Or piece by piece: begin, write..., end. Chunked unless `head` has Content-Length.
  virtual Task<Result<void>> begin(ResponseHead head) = 0;
  virtual Task<Result<void>> write(asio::const_buffer piece) = 0;
  virtual Task<Result<void>> end() = 0;
  /// begin() and the first write() in one packet; the last write() and end() in one packet.
  virtual Task<Result<void>> begin_with(ResponseHead head, asio::const_buffer first) = 0;
  virtual Task<Result<void>> end_with(asio::const_buffer last) = 0;
  /// Breaks the connection with a reset: the client must not take what it got for whole.
  virtual void abort() = 0;
  virtual bool responded() const = 0;  ///< a status has been sent
  /// Whoever is at the other end has shown who they are, or uses what only few know: the connection
  /// gives way to no newcomer while it has a request. For good.
  virtual void vouch() = 0;

  /// Completes when the client has closed or reset its connection (for handlers that wait a long
  /// time without writing). Only after the body was read. Cancel: safe.
  virtual Task<void> closed_by_client() = 0;
  /// Calls `then`, once, when something has come from the client that nobody has read: maybe its end.
  /// Not once `cancel` has been emitted. This exists until then.
  virtual void when_heard(asio::cancellation_slot cancel, std::function<void()> then) = 0;
  /// The same as closed_by_client(), asked at one time. Also before the body was read.
  virtual bool client_gone() const = 0;

  /// For upgrades and tunnels: takes the connection out of HTTP, with bytes already read.
  /// The handler must not use this exchange for anything else afterwards.
  struct Raw {
    Stream stream;
    std::string pending;
  };
  virtual Raw take_connection() = 0;
};

using Handler = std::function<Task<void>(Exchange&)>;

/// What an accepted connection goes through before it speaks HTTP (TLS). One that fails is closed;
/// it has ServerLimits::header_time for it.
using Welcome = std::function<Task<Result<Stream>>(Stream)>;

/// Told of a request that was answered by the server itself, as it could not even be read: why.
using Malformed = std::function<void(std::string_view reason)>;

/// Serves one connection until it ends. Exceptions that leave the handler are logged and answered
/// with a 500 that says nothing internal (or a reset, if a response had begun).
/// A handler that returns without a response gets a 500 sent for it.
Task<void> serve_connection(Stream stream, Handler handler, ServerLimits limits = {},
                            Malformed malformed = {});

/// A listening TCP socket. failed_precondition ("port 3000 is in use ...") or permission_denied.
Result<Fd> listen_tcp(const std::string& address, uint16_t port);
/// The port a listening socket has (for port 0).
uint16_t local_port(const Fd& listener);

/// Accepts until cancelled and serves each connection; on cancel cuts all and waits for them.
Task<void> serve(Fd listener, Handler handler, ServerLimits limits = {}, Welcome welcome = {});

}  // namespace hako::http
