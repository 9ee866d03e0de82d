#include "audit/keys.h"

#include <sodium.h>

#include <algorithm>
#include <stdexcept>

#include "audit/folder.h"
#include "base/encoding.h"
#include "base/fd.h"

namespace hako::audit {
namespace {

constexpr size_t kSeedBytes = crypto_sign_SEEDBYTES;
constexpr size_t kLongestKeyFile = 4096;
/// Of a SubjectPublicKeyInfo for Ed25519 (RFC 8410), before the key itself.
constexpr std::string_view kDerPrefix("\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00", 12);
constexpr std::string_view kPemBegins = "-----BEGIN PUBLIC KEY-----";
constexpr std::string_view kPemEnds = "-----END PUBLIC KEY-----";

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kBlank = " \t\r\n";
  size_t begin = std::min(text.find_first_not_of(kBlank), text.size());
  text.remove_prefix(begin);
  return text.substr(0, text.find_last_not_of(kBlank) + 1);
}

std::string_view bytes_of(const PublicKey& key) {
  return {reinterpret_cast<const char*>(key.data()), key.size()};
}

const unsigned char* data_of(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}

void start_sodium() {
  if (sodium_init() < 0) throw std::runtime_error("libsodium does not start");
}

Result<std::string> read_seed(const Folder& folder, const std::string& name) {
  HAKO_TRY(auto text, folder.read(name, kLongestKeyFile));
  auto seed = hex_decode(trimmed(text));
  sodium_memzero(text.data(), text.size());
  if (!seed || seed->size() != kSeedBytes) {
    return Error(ErrorCode::corrupted, folder.path() + "/" + name +
                                           " is not a signing key: 64 hex digits are expected");
  }
  return std::move(*seed);
}

Result<std::string> make_seed(const Folder& folder, const std::string& name) {
  std::string seed(kSeedBytes, '\0');
  randombytes_buf(seed.data(), seed.size());
  HAKO_TRYV(folder.write(name, hex_encode(seed) + "\n", 0600));
  return seed;
}

Result<void> write_if_missing(const Folder& folder, const std::string& name,
                              std::string_view text) {
  if (folder.has(name)) return ok();
  return folder.write(name, text, 0644);
}

}  // namespace

std::string to_hex(const PublicKey& key) {
  return hex_encode(bytes_of(key));
}

std::string to_pem(const PublicKey& key) {
  std::string pem(kPemBegins);
  pem += "\n" + base64_encode(std::string(kDerPrefix).append(bytes_of(key))) + "\n";
  return pem.append(kPemEnds) + "\n";
}

std::optional<PublicKey> public_key_from(std::string_view text) {
  text = trimmed(text);
  std::optional<std::string> bytes;
  if (text.substr(0, kPemBegins.size()) == kPemBegins) {
    text.remove_prefix(kPemBegins.size());
    if (text.size() < kPemEnds.size() || text.substr(text.size() - kPemEnds.size()) != kPemEnds) {
      return std::nullopt;
    }
    text.remove_suffix(kPemEnds.size());
    bytes = base64_decode(trimmed(text));
    if (!bytes || bytes->substr(0, kDerPrefix.size()) != kDerPrefix) return std::nullopt;
    bytes->erase(0, kDerPrefix.size());
  } else {
    bytes = hex_decode(text);
  }
  PublicKey key;
  if (!bytes || bytes->size() != key.size()) return std::nullopt;
  std::copy(bytes->begin(), bytes->end(), key.begin());
  return key;
}

bool SigningKey::exists(const std::string& path) {
  SplitPath place = split_path(path);
  auto folder = Folder::open(place.folder);
  return folder && folder.value().has(place.name);
}

Result<SigningKey> SigningKey::load_or_make(const std::string& path) {
  start_sodium();
  auto [directory, name] = split_path(path);
  HAKO_TRY(auto folder, Folder::open(directory));
  auto read = folder.has(name) ? read_seed(folder, name) : make_seed(folder, name);
  if (!read) return read.error().with_context("signing key of the audit log");
  std::string& seed = read.value();
  SigningKey key;
  crypto_sign_seed_keypair(key.public_.data(), key.secret_.data(), data_of(seed));
  sodium_memzero(seed.data(), seed.size());
  HAKO_TRYV(write_if_missing(folder, name + ".pub", to_hex(key.public_) + "\n"));
  HAKO_TRYV(write_if_missing(folder, name + ".pem", to_pem(key.public_)));
  return key;
}

SigningKey::~SigningKey() {
  sodium_memzero(secret_.data(), secret_.size());
}

std::string SigningKey::sign(std::string_view text) const {
  std::string signature(crypto_sign_BYTES, '\0');
  crypto_sign_detached(reinterpret_cast<unsigned char*>(signature.data()), nullptr, data_of(text),
                       text.size(), secret_.data());
  return signature;
}

bool verify(std::string_view text, std::string_view signature, const PublicKey& key) {
  start_sodium();
  return signature.size() == crypto_sign_BYTES &&
         crypto_sign_verify_detached(data_of(signature), data_of(text), text.size(), key.data()) ==
             0;
}

}  // namespace hako::audit
