#include "wire/signature.h"

#include <sodium/crypto_hash_sha256.h>
#include <sodium/utils.h>

#include "base/encoding.h"

namespace hako::wire {

std::string sign_files(const FileGrant& grant, std::string_view token) {
  std::string text;
  text.append(grant.path).append(":").append(grant.operation).append(":").append(grant.user);
  text.append(":").append(token);
  if (grant.expires) text.append(":").append(std::to_string(*grant.expires));
  unsigned char digest[crypto_hash_sha256_BYTES];
  crypto_hash_sha256(digest, reinterpret_cast<const unsigned char*>(text.data()), text.size());
  std::string signature = "v1_";
  base64_append(signature, {reinterpret_cast<const char*>(digest), sizeof digest});
  while (signature.back() == '=') signature.pop_back();
  return signature;
}

Result<void> verify_signature(const FileGrant& grant, std::string_view token,
                              std::string_view signature, int64_t now) {
  if (!equal_secrets(sign_files(grant, token), signature))
    return Error(ErrorCode::unauthenticated, "invalid signature");
  if (grant.expires && *grant.expires < now)
    return Error(ErrorCode::unauthenticated, "signature is already expired");
  return ok();
}

bool equal_secrets(std::string_view a, std::string_view b) {
  return a.size() == b.size() && sodium_memcmp(a.data(), b.data(), a.size()) == 0;
}

}  // namespace hako::wire
