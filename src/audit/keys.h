// The log's own pair of keys (Ed25519).
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace hako::audit {

using PublicKey = std::array<unsigned char, 32>;

std::string to_hex(const PublicKey& key);
/// As SubjectPublicKeyInfo, which OpenSSL and others read.
std::string to_pem(const PublicKey& key);
/// Either of both, with blanks and newlines around it. Nothing for anything else.
std::optional<PublicKey> public_key_from(std::string_view text);

class SigningKey {
 public:
  /// Of `path`, which is made if it is missing (0600). `path`.pub (hex) and `path`.pem are written
  /// beside it where they are missing. A link in its place is not followed. Blocking. Errors:
  /// corrupted; failed_precondition for a link; those of files.
  static Result<SigningKey> load_or_make(const std::string& path);
  /// Whether there is one already.
  static bool exists(const std::string& path);
  SigningKey(SigningKey&& other) noexcept = default;
  SigningKey(const SigningKey&) = delete;
  ~SigningKey();

  const PublicKey& public_key() const { return public_; }
  /// 64 bytes.
  std::string sign(std::string_view text) const;

 private:
  SigningKey() = default;
  std::array<unsigned char, 64> secret_{};
  PublicKey public_{};
};

bool verify(std::string_view text, std::string_view signature, const PublicKey& key);

}  // namespace hako::audit
