// Tokens that their holder can narrow without asking anybody: a chain of HMAC-SHA256 over an
// identifier and caveats (Birgisson et al., "Macaroons", NDSS 2014). No I/O.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace hako::wire {

/// Written as "e2b_" and the lower-case hex digits of
///
///   "hako1\n" identifier "\n" (caveat "\n")* signature
///
/// where the signature is 32 bytes: s0 = HMAC(root key, identifier), s(i) = HMAC(s(i-1), caveat i).
/// Clients of E2B, which check that a key is "e2b_" and hex digits, take it for a key. A key has
/// exactly 40 digits, and a token has always more. Texts are printable ASCII without line ends.
struct Macaroon {
  std::string identifier;
  std::vector<std::string> caveats;
  std::string signature;  ///< 32 bytes
  bool operator==(const Macaroon&) const = default;
};

inline constexpr size_t kLongestMacaroon = 16 << 10;  ///< bytes, as text
inline constexpr size_t kMostMacaroonCaveats = 32;
inline constexpr size_t kLongestMacaroonLine = 1024;  ///< bytes, of an identifier or caveat

/// Whether it has the form of a token rather than of a key; nothing else is checked.
bool looks_like_macaroon(std::string_view text);
/// invalid_argument for anything malformed.
Result<Macaroon> parse_macaroon(std::string_view text);
std::string to_string(const Macaroon& macaroon);

/// `root_key`: 32 bytes, secret. invalid_argument for an identifier that cannot be written.
Result<Macaroon> mint(std::string_view root_key, std::string_view identifier);
/// Adds a caveat; needs no key. invalid_argument for one that cannot be written, or too many.
Result<Macaroon> narrow(Macaroon macaroon, std::string_view caveat);
/// Whether the signature is that of the root key. In constant time for tokens of equal length.
bool verify(const Macaroon& macaroon, std::string_view root_key);
/// For each caveat the signature behind it, which names that very layer and everything before it.
/// Of a verified token.
std::vector<std::string> signatures_of(const Macaroon& macaroon, std::string_view root_key);

/// HMAC-SHA256, 32 bytes.
std::string hmac_sha256(std::string_view key, std::string_view message);

}  // namespace hako::wire
