// Signed file URLs: access to one path for those who have the link.
#pragma once

#include <sodium/crypto_hash_sha256.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace hako::wire {

/// What a signature covers. `path` and `user` are the query values as given, not resolved.
struct FileGrant {
  std::string_view path;
  std::string_view operation;  ///< "read" or "write"
  std::string_view user;
  std::optional<int64_t> expires;  ///< Unix seconds
};

/// "v1_" and the unpadded base64 SHA-256 of path:operation:user:token[:expiration].
std::string sign_files(const FileGrant& grant, std::string_view token);

/// The same for one token after the other: of what is long, nothing is done twice.
class FileSigner {
 public:
  explicit FileSigner(const FileGrant& grant);
  std::string sign(std::string_view token) const;

 private:
  crypto_hash_sha256_state begun_;
  std::string end_;  ///< what follows the token
};

/// Checks `signature` in constant time, and only then the expiry against `now` (Unix seconds).
/// unauthenticated: "invalid signature", "signature is already expired".
Result<void> verify_signature(const FileGrant& grant, std::string_view token,
                              std::string_view signature, int64_t now);

/// Comparison whose duration tells nothing about where two secrets differ.
bool equal_secrets(std::string_view a, std::string_view b);

}  // namespace hako::wire
