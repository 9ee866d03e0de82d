#include "wire/macaroon.h"

#include <sodium/crypto_auth_hmacsha256.h>

#include <algorithm>

#include "base/encoding.h"
#include "wire/signature.h"

namespace hako::wire {
namespace {

constexpr std::string_view kPrefix = "e2b_";
constexpr std::string_view kVersion = "hako1\n";
constexpr size_t kKeyDigits = 40;
constexpr size_t kSignatureBytes = crypto_auth_hmacsha256_BYTES;
constexpr size_t kRootKeyBytes = crypto_auth_hmacsha256_KEYBYTES;

Error wrong(std::string message) {
  return Error(ErrorCode::invalid_argument, std::move(message));
}

bool is_line(std::string_view text) {
  return !text.empty() && text.size() <= kLongestMacaroonLine &&
         std::all_of(text.begin(), text.end(), [](char c) { return c >= ' ' && c <= '~'; });
}

/// Only lower case, so that one token has one text.
bool is_hex(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

size_t length_as_text(const Macaroon& macaroon) {
  size_t bytes = kVersion.size() + macaroon.identifier.size() + 1 + macaroon.signature.size();
  for (const std::string& caveat : macaroon.caveats) bytes += caveat.size() + 1;
  return kPrefix.size() + 2 * bytes;
}

}  // namespace

std::string hmac_sha256(std::string_view key, std::string_view message) {
  auto bytes = [](std::string_view text) {
    return reinterpret_cast<const unsigned char*>(text.data());
  };
  crypto_auth_hmacsha256_state state;
  crypto_auth_hmacsha256_init(&state, bytes(key), key.size());
  crypto_auth_hmacsha256_update(&state, bytes(message), message.size());
  std::string mac(kSignatureBytes, '\0');
  crypto_auth_hmacsha256_final(&state, reinterpret_cast<unsigned char*>(mac.data()));
  return mac;
}

bool looks_like_macaroon(std::string_view text) {
  return text.starts_with(kPrefix) && text.size() > kPrefix.size() + kKeyDigits;
}

Result<Macaroon> parse_macaroon(std::string_view text) {
  if (text.size() > kLongestMacaroon) return wrong("the token is too long");
  if (!looks_like_macaroon(text) || !is_hex(text.substr(kPrefix.size())))
    return wrong("a token is e2b_ and more than 40 lower-case hex digits");
  auto bytes = hex_decode(text.substr(kPrefix.size()));
  if (!bytes) return wrong("the token has a hex digit too few");
  std::string_view rest = *bytes;
  if (!rest.starts_with(kVersion) || rest.size() < kVersion.size() + kSignatureBytes)
    return wrong("this is not a token, or one of another kind");
  Macaroon macaroon;
  macaroon.signature = rest.substr(rest.size() - kSignatureBytes);
  rest = rest.substr(kVersion.size(), rest.size() - kVersion.size() - kSignatureBytes);
  while (!rest.empty()) {
    size_t end = rest.find('\n');
    std::string_view line = rest.substr(0, end);
    if (end == std::string_view::npos || !is_line(line)) return wrong("the token is malformed");
    rest.remove_prefix(end + 1);
    if (macaroon.identifier.empty()) {
      macaroon.identifier = line;
    } else if (macaroon.caveats.size() == kMostMacaroonCaveats) {
      return wrong("the token has too many caveats");
    } else {
      macaroon.caveats.emplace_back(line);
    }
  }
  if (macaroon.identifier.empty()) return wrong("the token has no identifier");
  return macaroon;
}

std::string to_string(const Macaroon& macaroon) {
  std::string bytes(kVersion);
  bytes += macaroon.identifier + "\n";
  for (const std::string& caveat : macaroon.caveats) bytes += caveat + "\n";
  return std::string(kPrefix) + hex_encode(bytes + macaroon.signature);
}

Result<Macaroon> mint(std::string_view root_key, std::string_view identifier) {
  if (root_key.size() != kRootKeyBytes) return wrong("a root key has 32 bytes");
  if (!is_line(identifier)) return wrong("this cannot be an identifier of a token");
  return Macaroon{std::string(identifier), {}, hmac_sha256(root_key, identifier)};
}

Result<Macaroon> narrow(Macaroon macaroon, std::string_view caveat) {
  if (!is_line(caveat)) {
    return wrong("a caveat is 1 to " + std::to_string(kLongestMacaroonLine) +
                 " bytes of printable ASCII");
  }
  if (macaroon.caveats.size() >= kMostMacaroonCaveats) {
    return wrong("a token has at most " + std::to_string(kMostMacaroonCaveats) + " caveats");
  }
  macaroon.caveats.emplace_back(caveat);
  macaroon.signature = hmac_sha256(macaroon.signature, caveat);
  if (length_as_text(macaroon) > kLongestMacaroon) return wrong("the token would be too long");
  return macaroon;
}

std::vector<std::string> signatures_of(const Macaroon& macaroon, std::string_view root_key) {
  std::vector<std::string> signatures;
  std::string signature = hmac_sha256(root_key, macaroon.identifier);
  for (const std::string& caveat : macaroon.caveats) {
    signature = hmac_sha256(signature, caveat);
    signatures.push_back(signature);
  }
  return signatures;
}

bool verify(const Macaroon& macaroon, std::string_view root_key) {
  if (root_key.size() != kRootKeyBytes) return false;
  auto signatures = signatures_of(macaroon, root_key);
  return equal_secrets(
      signatures.empty() ? hmac_sha256(root_key, macaroon.identifier) : signatures.back(),
      macaroon.signature);
}

}  // namespace hako::wire
