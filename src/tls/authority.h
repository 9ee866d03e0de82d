// Servers' certificates made as they are needed, signed by an authority of one's own.
#pragma once

#include <memory>
#include <string>

#include "base/clock.h"
#include "http/stream.h"

namespace hako::tls {

/// Shakes hands with clients as whoever they want to talk to, towards those that trust the
/// authority. TLS 1.2 and newer, HTTP/1.1 only. Reads no files. Thread: one executor.
class Authority {
 public:
  /// Names it has a certificate for at once; of more, the one that was not used for the longest time
  /// is made anew when it is needed again.
  static constexpr size_t kMostKept = 256;
  /// Valid from a day ago on, as clocks differ, and replaced well before they end.
  static constexpr auto kValidFor = std::chrono::hours(7 * 24);

  /// Both PEM. invalid_argument says what is wrong, also where the certificate is no authority's.
  static Result<Authority> load(const std::string& certificate, const std::string& key);
  Authority(Authority&&) noexcept;
  Authority& operator=(Authority&&) noexcept;
  ~Authority();

  /// The certificate for `name` alone, PEM. invalid_argument: not the name of a host in lower case,
  /// without a dot at its end.
  Result<std::string> certificate_for(const std::string& name, WallTime now = WallClock::now());

  /// Shakes hands as `name`; also where `stream` has a layer already, which the records then go
  /// through. invalid_argument, unavailable. Deadlines are the caller's. Cancel: safe.
  Task<Result<http::Stream>> welcome(http::Stream stream, std::string name);

  size_t kept() const;

 private:
  struct Impl;
  explicit Authority(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace hako::tls
