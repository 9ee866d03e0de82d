#include "engine/sealed_file.h"

#include <sodium/core.h>
#include <sodium/crypto_generichash.h>
#include <sodium/crypto_secretstream_xchacha20poly1305.h>
#include <sodium/utils.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <vector>

namespace hako::engine {

namespace {

constexpr size_t kChunkBytes = 256 << 10;
constexpr size_t kDigestBytes = crypto_generichash_BYTES;
constexpr size_t kMagicBytes = 16;
using Magic = std::array<unsigned char, kMagicBytes>;
using Digest = std::array<unsigned char, kDigestBytes>;
using Stream = crypto_secretstream_xchacha20poly1305_state;

constexpr unsigned char kMore = crypto_secretstream_xchacha20poly1305_TAG_MESSAGE;
constexpr unsigned char kLast = crypto_secretstream_xchacha20poly1305_TAG_FINAL;
constexpr size_t kPlainOverhead = 1 + kDigestBytes;
constexpr size_t kCipherOverhead = crypto_secretstream_xchacha20poly1305_ABYTES;
static_assert(kSealKeyBytes == crypto_secretstream_xchacha20poly1305_KEYBYTES);

Magic magic_of(bool encrypted) {
  Magic magic;
  std::memcpy(magic.data(), encrypted ? "hako-sealed-1 e\n" : "hako-sealed-1 p\n", kMagicBytes);
  return magic;
}

/// What every chunk depends on: the kind of the file, and its purpose.
Digest digest_of_purpose(const Magic& magic, const std::string& purpose) {
  Digest digest;
  crypto_generichash_state hash;
  crypto_generichash_init(&hash, nullptr, 0, kDigestBytes);
  crypto_generichash_update(&hash, magic.data(), magic.size());
  crypto_generichash_update(&hash, reinterpret_cast<const unsigned char*>(purpose.data()),
                            purpose.size());
  crypto_generichash_final(&hash, digest.data(), digest.size());
  return digest;
}

/// Chains: a chunk is right only behind those that it was written behind.
Digest digest_of_chunk(const Digest& before, unsigned char tag, const unsigned char* chunk,
                       size_t size) {
  Digest digest;
  crypto_generichash_state hash;
  crypto_generichash_init(&hash, nullptr, 0, kDigestBytes);
  crypto_generichash_update(&hash, before.data(), before.size());
  crypto_generichash_update(&hash, &tag, 1);
  crypto_generichash_update(&hash, chunk, size);
  crypto_generichash_final(&hash, digest.data(), digest.size());
  return digest;
}

Result<void> check_key(const Seal& seal) {
  if (sodium_init() < 0) throw std::runtime_error("libsodium does not start");
  if (seal.key && seal.key->size() != kSealKeyBytes)
    return Error(ErrorCode::invalid_argument, "a key of 32 bytes is needed");
  return ok();
}

const unsigned char* key_of(const Seal& seal) {
  return reinterpret_cast<const unsigned char*>(seal.key->data());
}

std::span<const std::byte> as_bytes(const unsigned char* data, size_t size) {
  return {reinterpret_cast<const std::byte*>(data), size};
}

/// As many bytes as there are, up to `size`.
Result<size_t> read_up_to(int fd, unsigned char* to, size_t size) {
  size_t done = 0;
  while (done < size) {
    ssize_t n = ::read(fd, to + done, size - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Error::from_errno(errno, "read");
    if (n == 0) break;
    done += static_cast<size_t>(n);
  }
  return done;
}

}  // namespace

struct SealedWriter::State {
  int file;
  bool encrypted;
  Digest digest;
  Stream stream;
  std::vector<unsigned char> chunk;  ///< not yet written
  std::vector<unsigned char> sealed;
  ~State() { sodium_memzero(&stream, sizeof stream); }

  Result<void> flush(unsigned char tag) {
    if (encrypted) {
      sealed.resize(chunk.size() + kCipherOverhead);
      crypto_secretstream_xchacha20poly1305_push(&stream, sealed.data(), nullptr, chunk.data(),
                                                 chunk.size(), digest.data(), digest.size(), tag);
      HAKO_TRYV(write_all(file, as_bytes(sealed.data(), sealed.size())));
    } else {
      digest = digest_of_chunk(digest, tag, chunk.data(), chunk.size());
      chunk.push_back(tag);
      chunk.insert(chunk.end(), digest.begin(), digest.end());
      HAKO_TRYV(write_all(file, as_bytes(chunk.data(), chunk.size())));
    }
    chunk.clear();
    return ok();
  }
};

SealedWriter::SealedWriter(std::unique_ptr<State> state) : state_(std::move(state)) {}
SealedWriter::SealedWriter(SealedWriter&&) noexcept = default;
SealedWriter::~SealedWriter() = default;

Result<SealedWriter> SealedWriter::begin(int file, const Seal& seal) {
  HAKO_TRYV(check_key(seal));
  auto state = std::make_unique<State>();
  state->file = file;
  state->encrypted = seal.key.has_value();
  Magic magic = magic_of(state->encrypted);
  state->digest = digest_of_purpose(magic, seal.purpose);
  state->chunk.reserve(kChunkBytes + kPlainOverhead);
  HAKO_TRYV(write_all(file, as_bytes(magic.data(), magic.size())));
  if (state->encrypted) {
    std::array<unsigned char, crypto_secretstream_xchacha20poly1305_HEADERBYTES> header;
    crypto_secretstream_xchacha20poly1305_init_push(&state->stream, header.data(), key_of(seal));
    HAKO_TRYV(write_all(file, as_bytes(header.data(), header.size())));
  }
  return SealedWriter(std::move(state));
}

Result<void> SealedWriter::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    // A full chunk waits here until it is known whether it is the last.
    if (state_->chunk.size() == kChunkBytes) {
      HAKO_TRYV(state_->flush(kMore));
    }
    auto part = bytes.first(std::min(bytes.size(), kChunkBytes - state_->chunk.size()));
    const auto* data = reinterpret_cast<const unsigned char*>(part.data());
    state_->chunk.insert(state_->chunk.end(), data, data + part.size());
    bytes = bytes.subspan(part.size());
  }
  return ok();
}

Result<void> SealedWriter::finish() {
  HAKO_TRYV(state_->flush(kLast));
  if (::fsync(state_->file) < 0) return Error::from_errno(errno, "fsync");
  return ok();
}

struct SealedReader::State {
  int file;
  std::string name;
  bool encrypted;
  Digest digest;
  Stream stream;
  std::vector<unsigned char> sealed;
  std::vector<unsigned char> chunk;  ///< checked
  size_t taken = 0;                  ///< of it
  bool last = false;                 ///< no other follows
  ~State() { sodium_memzero(&stream, sizeof stream); }

  Error bad(const char* what) const { return Error(ErrorCode::corrupted, name + ": " + what); }

  Result<void> next_chunk() {
    if (last) return bad("ends too early");
    const size_t overhead = encrypted ? kCipherOverhead : kPlainOverhead;
    sealed.resize(kChunkBytes + overhead);
    HAKO_TRY(size_t got, read_up_to(file, sealed.data(), sealed.size()));
    if (got < overhead) return bad("cut off");
    const size_t size = got - overhead;
    unsigned char tag = 0;
    chunk.resize(size);
    taken = 0;
    if (encrypted) {
      if (crypto_secretstream_xchacha20poly1305_pull(&stream, chunk.data(), nullptr, &tag,
                                                     sealed.data(), got, digest.data(),
                                                     digest.size()) != 0)
        return bad("was changed, cut off, or written with another key or for another purpose");
    } else {
      tag = sealed[size];
      digest = digest_of_chunk(digest, tag, sealed.data(), size);
      if (std::memcmp(digest.data(), &sealed[size + 1], digest.size()) != 0)
        return bad("does not match its checksum, was cut off, or is for another purpose");
      std::copy_n(sealed.begin(), size, chunk.begin());
    }
    last = tag == kLast;
    if (!last && size < kChunkBytes) return bad("cut off");
    return ok();
  }
};

SealedReader::SealedReader(std::unique_ptr<State> state) : state_(std::move(state)) {}
SealedReader::SealedReader(SealedReader&&) noexcept = default;
SealedReader::~SealedReader() = default;

Result<SealedReader> SealedReader::begin(int file, std::string name, const Seal& seal) {
  HAKO_TRYV(check_key(seal));
  auto state = std::make_unique<State>();
  state->file = file;
  state->name = std::move(name);
  state->encrypted = seal.key.has_value();
  Magic magic;
  HAKO_TRY(size_t got, read_up_to(file, magic.data(), magic.size()));
  if (got < magic.size()) return state->bad("cut off");
  if (magic != magic_of(state->encrypted)) {
    if (magic == magic_of(!state->encrypted))
      return state->bad(state->encrypted ? "is not encrypted, and should be"
                                         : "is encrypted, and there is no key");
    return state->bad("not a file of this kind");
  }
  state->digest = digest_of_purpose(magic, seal.purpose);
  if (state->encrypted) {
    std::array<unsigned char, crypto_secretstream_xchacha20poly1305_HEADERBYTES> header;
    HAKO_TRY(got, read_up_to(file, header.data(), header.size()));
    if (got < header.size()) return state->bad("cut off");
    if (crypto_secretstream_xchacha20poly1305_init_pull(&state->stream, header.data(),
                                                        key_of(seal)) != 0)
      return state->bad("not a file of this kind");
  }
  HAKO_TRYV(state->next_chunk());
  return SealedReader(std::move(state));
}

Result<void> SealedReader::read(std::span<std::byte> bytes) {
  while (!bytes.empty()) {
    if (state_->taken == state_->chunk.size()) {
      HAKO_TRYV(state_->next_chunk());
    }
    size_t part = std::min(bytes.size(), state_->chunk.size() - state_->taken);
    std::memcpy(bytes.data(), state_->chunk.data() + state_->taken, part);
    state_->taken += part;
    bytes = bytes.subspan(part);
  }
  return ok();
}

Result<void> SealedReader::finish() {
  unsigned char more = 0;
  if (!state_->last || state_->taken < state_->chunk.size())
    return state_->bad("longer than it says");
  HAKO_TRY(size_t got, read_up_to(state_->file, &more, 1));
  if (got > 0) return state_->bad("longer than it says");
  return ok();
}

}  // namespace hako::engine
