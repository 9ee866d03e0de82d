// What a TLS client says first: RFC 8446, RFC 6066 (SNI), RFC 9849 (encrypted hellos).
#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace hako::wire {

struct ClientHello {
  enum class State {
    incomplete,  ///< a beginning: more is needed
    no_tls,      ///< cannot become a ClientHello, and no server would take it for TLS
    malformed,   ///< TLS, but no ClientHello, or one with wrong lengths, or with two names
    whole,
  };
  State state = State::incomplete;
  std::string server_name;  ///< lower case; empty if there was none
  bool encrypted = false;   ///< it has an encrypted hello (ECH) inside: who is meant is hidden
  size_t size = 0;          ///< of a whole one, framing included, bytes
};

/// Hellos longer than this, framing included, are malformed, bytes. Real ones, with keys of
/// post-quantum exchanges, stay below 4 KiB.
inline constexpr size_t kLongestHello = 16 << 10;

/// Reads the first bytes of a connection, spread over TLS records as they may be. What follows the
/// hello changes nothing; in its last record nothing may.
/// Names that are no host names (NUL, spaces, non-ASCII, addresses, a dot at the end) are
/// malformed, as are hellos in the form of SSL 2, which servers still take and which hold no name.
/// `encrypted` is also true for the sham that some clients (browsers) send where they know no key:
/// nobody but the server can tell it from a real one.
ClientHello read_client_hello(std::span<const uint8_t> bytes);

/// What a server says to a hello, in its first bytes.
enum class HelloReply {
  incomplete,
  retry,  ///< HelloRetryRequest: another hello follows, and servers go by the name in that one
  other,  ///< anything else: no hello follows that could be seen
};
HelloReply read_hello_reply(std::span<const uint8_t> bytes);

/// The hello that follows a retry, from the first byte behind the first hello.
ClientHello read_second_hello(std::span<const uint8_t> bytes);

}  // namespace hako::wire
