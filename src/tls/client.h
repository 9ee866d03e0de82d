// The client's side of TLS.
#pragma once

#include <memory>
#include <string>

#include "http/stream.h"

namespace hako::tls {

/// Makes encrypted streams to servers that have proved who they are; there is no way around that.
/// TLS 1.2 and newer, HTTP/1.1 only. Thread: one executor.
class Client {
 public:
  /// `ca_file`: PEM, the only authorities to trust. Empty: those of the system, for which
  /// $SSL_CERT_FILE and $SSL_CERT_DIR are heeded. Read when first needed.
  explicit Client(std::string ca_file);
  ~Client();

  /// Reads the authorities now, for a process that will soon be able to read no files.
  /// invalid_argument (ca_file).
  Result<void> prepare();
  /// Shakes hands with the server on a connected stream. `host`: the name or IP address its
  /// certificate must be for, among its alternative names.
  /// Errors, in words for the user: permission_denied (no authority that is trusted vouches for the
  /// certificate), unauthenticated (another host's, out of date, unfit), invalid_argument (ca_file),
  /// unavailable. Deadlines are the caller's. Cancel: safe.
  Task<Result<http::Stream>> connect(http::Stream stream, std::string host);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace hako::tls
