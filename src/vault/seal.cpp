#include "vault/seal.h"

#include <sodium/crypto_aead_xchacha20poly1305.h>
#include <sodium/utils.h>

#include "base/encoding.h"
#include "base/random.h"

namespace hako::vault {
namespace {

constexpr size_t kKeyBytes = crypto_aead_xchacha20poly1305_ietf_KEYBYTES;
constexpr size_t kNonceBytes = crypto_aead_xchacha20poly1305_ietf_NPUBBYTES;
constexpr size_t kTagBytes = crypto_aead_xchacha20poly1305_ietf_ABYTES;
/// Which key it was sealed with, so that a wrong one can be told from a damaged record.
constexpr size_t kKeyIdBytes = 8;

const unsigned char* bytes_of(std::string_view text) {
  // SAFETY: bytes as bytes.
  return reinterpret_cast<const unsigned char*>(text.data());
}

unsigned char* bytes_of(std::string& text) {
  // SAFETY: bytes as bytes.
  return reinterpret_cast<unsigned char*>(text.data());
}

std::string sealing_key(const MasterKey& master) {
  return master.derive("seal", "", kKeyBytes);
}

std::string key_id(const MasterKey& master) {
  return master.derive("seal key id", "", kKeyIdBytes);
}

std::string bound_to(std::string_view id) {
  return "hako secret " + std::string(id);
}

}  // namespace

std::string seal(const MasterKey& master, std::string_view id, std::string_view value) {
  std::string key = sealing_key(master);
  std::string nonce = random_bytes(kNonceBytes);
  std::string about = bound_to(id);
  std::string locked(value.size() + kTagBytes, '\0');
  unsigned long long size = 0;
  crypto_aead_xchacha20poly1305_ietf_encrypt(bytes_of(locked), &size, bytes_of(value),
                                             value.size(), bytes_of(about), about.size(), nullptr,
                                             bytes_of(nonce), bytes_of(key));
  sodium_memzero(key.data(), key.size());
  return base64_encode(key_id(master) + nonce + locked);
}

Result<std::string> unseal(const MasterKey& master, std::string_view id, std::string_view sealed) {
  auto bytes = base64_decode(sealed);
  if (!bytes || bytes->size() < kKeyIdBytes + kNonceBytes + kTagBytes) {
    return Error(ErrorCode::corrupted, "what was kept is not what was written");
  }
  std::string_view all = *bytes;
  if (all.substr(0, kKeyIdBytes) != key_id(master)) {
    return Error(ErrorCode::failed_precondition, "it was sealed under another master key");
  }
  std::string_view nonce = all.substr(kKeyIdBytes, kNonceBytes);
  std::string_view locked = all.substr(kKeyIdBytes + kNonceBytes);
  std::string key = sealing_key(master);
  std::string about = bound_to(id);
  std::string value(locked.size() - kTagBytes, '\0');
  unsigned long long size = 0;
  int wrong = crypto_aead_xchacha20poly1305_ietf_decrypt(
      bytes_of(value), &size, nullptr, bytes_of(locked), locked.size(), bytes_of(about),
      about.size(), bytes_of(nonce), bytes_of(key));
  sodium_memzero(key.data(), key.size());
  if (wrong != 0) return Error(ErrorCode::corrupted, "what was kept is not what was written");
  return value;
}

}  // namespace hako::vault
