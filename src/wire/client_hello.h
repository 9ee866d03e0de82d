// What a TLS client says first: RFC 8446, RFC 6066 (SNI), RFC 9849 (encrypted hellos).
#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace hako::wire {

struct ClientHello {
  enum class State {
    incomplete,  ///< a beginning: more is needed
    no_tls,      ///< cannot become a ClientHello
    malformed,   ///< a ClientHello with wrong lengths, or two names
    whole,
  };
  State state = State::incomplete;
  std::string server_name;  ///< lower case; empty if there was none
  bool encrypted = false;   ///< it has an encrypted hello (ECH) inside: who is meant is hidden
};

/// Hellos longer than this are malformed, bytes. Real ones, with keys of post-quantum exchanges,
/// stay below 4 KiB.
inline constexpr size_t kLongestHello = 16 << 10;

/// Reads the first bytes of a connection, spread over TLS records as they may be.
/// Names that are no host names (NUL, spaces, non-ASCII, addresses) are malformed.
ClientHello read_client_hello(std::span<const uint8_t> bytes);

}  // namespace hako::wire
