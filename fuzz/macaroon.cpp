// A token as a stranger writes it: an error of one line, or a token that is the same when it is
// written and read again, that no root key of ours has made, and that can be narrowed within the
// limits. What stands behind the prefix may also come as bytes, which get further than hex digits
// at random do.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "base/encoding.h"
#include "wire/macaroon.h"

namespace {

using namespace hako::wire;

const std::string kRoot(32, 'r');

void require(bool holds) {
  if (!holds) std::abort();
}

void check_narrowed(const Macaroon& token, std::string_view caveat) {
  auto narrower = narrow(token, caveat);
  if (!narrower) {
    require(narrower.error().message().find('\n') == std::string::npos);
    return;
  }
  std::string text = to_string(narrower.value());
  require(text.size() <= kLongestMacaroon);
  auto again = parse_macaroon(text);
  require(again && again.value() == narrower.value());
  require(again.value().caveats.size() == token.caveats.size() + 1);
}

void check(std::string_view text, std::string_view bytes) {
  auto token = parse_macaroon(text);
  if (!token) {
    const std::string& message = token.error().message();
    require(!message.empty() && message.find('\n') == std::string::npos);
    return;
  }
  require(looks_like_macaroon(text) && text.size() <= kLongestMacaroon);
  require(to_string(token.value()) == text);
  require(token.value().signature.size() == 32);
  require(token.value().caveats.size() <= kMostMacaroonCaveats);
  require(!verify(token.value(), kRoot) && !verify(token.value(), ""));
  // The signature that it should have had is the only one that verifies.
  auto signatures = signatures_of(token.value(), kRoot);
  require(signatures.size() == token.value().caveats.size());
  Macaroon right = token.value();
  right.signature = signatures.empty() ? hmac_sha256(kRoot, right.identifier) : signatures.back();
  require(verify(right, kRoot));
  check_narrowed(right, "boxes <= 1");
  check_narrowed(right, bytes);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view bytes(reinterpret_cast<const char*>(data), size);
  check(bytes, bytes);
  check("e2b_" + hako::hex_encode(bytes), bytes);
  check("e2b_" + hako::hex_encode("hako1\n" + std::string(bytes)), bytes);
  return 0;
}
