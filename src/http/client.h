// An HTTP/1.1 client connection.
#pragma once

#include <memory>

#include "http/message.h"
#include "http/stream.h"

namespace hako::http {

struct Request {
  Verb method = Verb::get;
  std::string target = "/";
  Fields fields;
  std::string body;  ///< sent with Content-Length when non-empty or the method wants one
};

/// One connection, one request at a time. Errors of all calls: unavailable (connection broke),
/// too_large, corrupted (not HTTP). Deadlines are the caller's (with_deadline).
class Client {
 public:
  explicit Client(Stream stream);
  Client(Client&&) noexcept;
  Client& operator=(Client&&) noexcept;
  ~Client();

  /// Sends a whole request and reads the whole response. Body over `limit`: too_large.
  Task<Result<Response>> exchange(Request request, size_t limit = 16 << 20);

  /// Sends a whole request and reads the response's head; the body follows by read_some().
  Task<Result<ResponseHead>> start(Request request);
  /// Sends only the head (chunked unless it has Content-Length); the body by write()/finish().
  Task<Result<void>> begin(Request head);
  Task<Result<void>> write(asio::const_buffer piece);
  Task<Result<void>> finish();
  Task<Result<ResponseHead>> read_head();
  /// The next piece of the decoded body; 0 at its regular end. unavailable if cut short.
  Task<Result<size_t>> read_some(asio::mutable_buffer into);

  /// The same without waiting: of what has come already; 0 if that is nothing, or at the end.
  Result<size_t> read_at_hand(asio::mutable_buffer into);

  /// Whether another request may use this connection (last response fully read, keep-alive).
  bool reusable() const;
  /// True when the other side has closed or sent something unasked: do not reuse.
  bool stale();
  /// With which uid etc. Access to the socket, for relays.
  Stream& stream();
  struct Raw;
  /// Takes the connection out of HTTP (after a 101), with bytes already read.
  std::pair<Stream, std::string> take_connection();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace hako::http
