#include "engine/snapshot_store.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <filesystem>
#include <functional>

#include "base/encoding.h"
#include "base/random.h"
#include "engine/durable.h"
#include "engine/memory_delta.h"
#include "engine/memory_file.h"

namespace hako::engine {

namespace fs = std::filesystem;

namespace {

constexpr size_t kPage = kGuestPage;
constexpr size_t kChunk = 256 * kPage;

class Sha256 {
 public:
  Sha256() : context_(EVP_MD_CTX_new()) {
    if (!context_ || EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) != 1)
      throw std::runtime_error("OpenSSL has no SHA-256");
  }
  void add(const void* data, size_t size) {
    if (EVP_DigestUpdate(context_.get(), data, size) != 1)
      throw std::runtime_error("OpenSSL: SHA-256 failed");
  }
  std::string hex() {
    std::array<char, EVP_MAX_MD_SIZE> bytes;
    unsigned size = 0;
    EVP_DigestFinal_ex(context_.get(), reinterpret_cast<unsigned char*>(bytes.data()), &size);
    return hex_encode({bytes.data(), size});
  }

 private:
  struct Free {
    void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
  };
  std::unique_ptr<EVP_MD_CTX, Free> context_;
};

std::string sha256_of(std::string_view text) {
  Sha256 hash;
  hash.add(text.data(), text.size());
  return hash.hex();
}

/// Copies the pages of [offset, offset + buffer's size) that are not zero, runs of them at once.
Result<void> copy_pages(std::span<const std::byte> buffer, uint64_t offset, int target,
                        Sha256& hash) {
  const size_t size = buffer.size();
  for (size_t at = 0; at < size;) {
    if (is_zero_page(buffer.data() + at)) {
      at += kPage;
      continue;
    }
    size_t end = at;
    for (; end < size && !is_zero_page(buffer.data() + end); end += kPage) {
      uint64_t position = offset + end;
      hash.add(&position, sizeof position);
      hash.add(buffer.data() + end, kPage);
    }
    HAKO_TRYV(write_all_at(target, buffer.subspan(at, end - at), offset + at));
    at = end;
  }
  return ok();
}

/// Copies `size` bytes of guest memory, leaving holes for what is zero. Returns their checksum,
/// which does not depend on where the file systems see holes.
Result<std::string> copy_memory(int source, int target, off_t size) {
  Sha256 hash;
  std::vector<std::byte> buffer(kChunk);
  for (off_t position = 0; position < size;) {
    off_t data = ::lseek(source, position, SEEK_DATA);
    if (data < 0 && errno == ENXIO) break;  // only a hole is left
    if (data < 0) return Error::from_errno(errno, "seek memory");
    position = data / static_cast<off_t>(kPage) * static_cast<off_t>(kPage);
    off_t hole = ::lseek(source, data, SEEK_HOLE);
    if (hole < 0) return Error::from_errno(errno, "seek memory");
    while (position < hole && position < size) {
      off_t wanted = (hole - position + static_cast<off_t>(kPage) - 1) / static_cast<off_t>(kPage) *
                     static_cast<off_t>(kPage);
      auto part = static_cast<size_t>(std::min({wanted, size - position, off_t{kChunk}}));
      auto pages = std::span(buffer).first(part);
      HAKO_TRYV(read_all_at(source, pages, static_cast<uint64_t>(position)));
      HAKO_TRYV(copy_pages(pages, static_cast<uint64_t>(position), target, hash));
      position += static_cast<off_t>(part);
    }
  }
  return hash.hex();
}

off_t memory_bytes(const MachineSize& size) {
  return static_cast<off_t>(size.memory_mib) << 20;
}

Result<void> write_files(const Snapshot& snapshot, const std::string& directory) {
  HAKO_TRYV(check_sealed(snapshot.memory.get(), snapshot.size.memory_mib));
  HAKO_TRY(auto file, open_file(directory + "/memory", O_WRONLY | O_CREAT | O_EXCL, 0600));
  if (::ftruncate(file.get(), memory_bytes(snapshot.size)) < 0)
    return Error::from_errno(errno, "size memory");
  SnapshotMeta meta;
  HAKO_TRY(meta.memory_sha256,
           copy_memory(snapshot.memory.get(), file.get(), memory_bytes(snapshot.size)));
  if (::fsync(file.get()) < 0) return Error::from_errno(errno, "fsync memory");
  meta.size = snapshot.size;
  meta.fingerprint = snapshot.fingerprint;
  meta.device_state_bytes = snapshot.device_state.size();
  meta.device_state_sha256 = sha256_of(snapshot.device_state);
  HAKO_TRYV(write_file_atomically(directory + "/device-state", snapshot.device_state, 0600));
  HAKO_TRYV(write_file_atomically(directory + "/meta.json", format_snapshot_meta(meta), 0600));
  return sync_directory(directory);
}

}  // namespace

Result<void> save_snapshot(const Snapshot& snapshot, const std::string& directory) {
  std::string temporary = directory + ".tmp-" + random_hex(6);
  if (::mkdir(temporary.c_str(), 0700) < 0) return Error::from_errno(errno, "mkdir " + temporary);
  auto save = [&]() -> Result<void> {
    HAKO_TRYV(write_files(snapshot, temporary));
    return publish(temporary, directory);
  };
  auto saved = save();
  std::error_code ignored;
  if (!saved) fs::remove_all(temporary, ignored);
  return saved;
}

Result<Snapshot> load_snapshot(const std::string& directory) {
  HAKO_TRY(auto text, read_file(directory + "/meta.json", 64 << 10));
  HAKO_TRY(auto meta, parse_snapshot_meta(text));
  auto damaged = [](const char* name) {
    return Error(ErrorCode::corrupted, std::string(name) + ": does not match its checksum");
  };
  Snapshot snapshot;
  snapshot.size = meta.size;
  snapshot.fingerprint = meta.fingerprint;

  HAKO_TRY(auto file, open_file(directory + "/memory", O_RDONLY));
  struct stat info {};
  if (::fstat(file.get(), &info) < 0) return Error::from_errno(errno, "stat memory");
  if (info.st_size != memory_bytes(meta.size))
    return Error(ErrorCode::corrupted,
                 "memory: " + std::to_string(info.st_size) + " bytes, not what meta.json says");
  auto state = read_file(directory + "/device-state", meta.device_state_bytes);
  if (!state && state.error().code() == ErrorCode::too_large) return damaged("device-state");
  HAKO_TRY(snapshot.device_state, std::move(state));
  if (snapshot.device_state.size() != meta.device_state_bytes ||
      sha256_of(snapshot.device_state) != meta.device_state_sha256)
    return damaged("device-state");

  HAKO_TRY(snapshot.memory, make_memory_file(meta.size.memory_mib));
  HAKO_TRY(auto digest, copy_memory(file.get(), snapshot.memory.get(), memory_bytes(meta.size)));
  if (digest != meta.memory_sha256) return damaged("memory");
  HAKO_TRYV(seal_memory_file(snapshot.memory.get(), meta.size.memory_mib));
  return snapshot;
}

}  // namespace hako::engine
