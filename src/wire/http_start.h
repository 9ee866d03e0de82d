// What a connection to a port without a name of its own begins with.
#pragma once

#include <cstdint>
#include <span>

namespace hako::wire {

enum class ConnectionStart {
  incomplete,  ///< cannot be told yet
  tls,         ///< a TLS client: read_client_hello() says more
  http,        ///< might be taken for an HTTP request, if only by a lenient server
  other,       ///< neither: no server reads a host name from it
};

/// After this many bytes there is an answer.
inline constexpr size_t kLongestStart = 8 << 10;

/// Judges the first bytes that a client sends. Once there is an answer, more bytes do not change
/// it. In doubt it is `http`, as whoever says so goes on to check the host, and refuses what is no
/// good request: empty lines before it, any method, any spacing, no version, a word or a request
/// too long to tell, HTTP/2's preface, and the PROXY protocol, behind which a request hides.
ConnectionStart judge_start(std::span<const uint8_t> bytes);

}  // namespace hako::wire
