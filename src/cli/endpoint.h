// Where a server answers.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"
#include "tls/client.h"

namespace hako::cli {

/// An HTTP origin, with the path prefix a reverse proxy may have given it.
struct Endpoint {
  std::string host;  ///< name or address, IPv6 without brackets
  uint16_t port = 80;
  std::string prefix;  ///< "" or "/hako", without a slash at the end
  std::string url;     ///< as messages show it
  bool secure = false;  ///< https
  /// Whom to trust about a secure one; shared with the other servers of the same API.
  std::shared_ptr<tls::Client> tls;

  /// The host is this machine's loopback, by name or address.
  bool is_loopback() const;
  /// What the Host header says.
  std::string authority() const;
};

/// Reads "http[s]://host[:port][/prefix]"; `tls` is not set. Errors: invalid_argument.
Result<Endpoint> parse_endpoint(std::string_view url);

}  // namespace hako::cli
