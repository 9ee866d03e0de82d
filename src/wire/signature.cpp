#include "wire/signature.h"

#include <sodium/utils.h>

#include "base/encoding.h"

namespace hako::wire {

namespace {

void add_to(crypto_hash_sha256_state& state, std::string_view text) {
  crypto_hash_sha256_update(&state, reinterpret_cast<const unsigned char*>(text.data()),
                            text.size());
}

}  // namespace

FileSigner::FileSigner(const FileGrant& grant) {
  crypto_hash_sha256_init(&begun_);
  for (std::string_view part : {grant.path, grant.operation, grant.user}) {
    add_to(begun_, part);
    add_to(begun_, ":");
  }
  if (grant.expires) end_ = ":" + std::to_string(*grant.expires);
}

std::string FileSigner::sign(std::string_view token) const {
  crypto_hash_sha256_state state = begun_;
  add_to(state, token);
  add_to(state, end_);
  unsigned char digest[crypto_hash_sha256_BYTES];
  crypto_hash_sha256_final(&state, digest);
  std::string signature = "v1_";
  base64_append(signature, {reinterpret_cast<const char*>(digest), sizeof digest});
  while (signature.back() == '=') signature.pop_back();
  return signature;
}

std::string sign_files(const FileGrant& grant, std::string_view token) {
  return FileSigner(grant).sign(token);
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
