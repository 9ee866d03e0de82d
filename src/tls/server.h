// The server's side of TLS.
#pragma once

#include <memory>
#include <string>

#include "http/stream.h"

namespace hako::tls {

/// Makes encrypted streams of accepted connections, for HTTP/1.1 only: h2 is never agreed on.
/// TLS 1.2 and newer. Reads no files. Thread: one executor.
class Server {
 public:
  Server();
  ~Server();

  /// Uses a certificate, with the chain behind it, and its key, both PEM, for connections from now
  /// on; earlier ones keep theirs. invalid_argument says what is wrong; then all stays as it was.
  Result<void> use(const std::string& certificate, const std::string& key);
  bool ready() const;

  /// For http::serve(): shakes hands with a client that begins TLS. One that speaks plainly is let
  /// through as it is if it is on this machine, and told so otherwise. unavailable when the
  /// connection is of no use, or no certificate is there yet. Cancel: safe.
  Task<Result<http::Stream>> welcome(http::Stream stream);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace hako::tls
