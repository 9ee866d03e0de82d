#include "image/disk_checksum.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <span>
#include <vector>

#include "base/encoding.h"
#include "base/fd.h"

namespace hako::image {
namespace {

constexpr off_t kBlock = 4096;
constexpr off_t kPiece = 256 * kBlock;

using Digest = std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)>;
using Bytes = std::span<const std::byte>;

bool is_zero(Bytes block) {
  return block.front() == std::byte(0) &&
         std::memcmp(block.data(), block.data() + 1, block.size() - 1) == 0;
}

/// `from` is a multiple of the block's size.
Result<void> add_blocks(EVP_MD_CTX* digest, int fd, off_t from, off_t to,
                        std::vector<std::byte>& buffer) {
  while (from < to) {
    auto piece = std::span(buffer).first(static_cast<size_t>(std::min(kPiece, to - from)));
    HAKO_TRYV(read_all_at(fd, piece, static_cast<uint64_t>(from)));
    for (Bytes left = piece; !left.empty();) {
      Bytes block = left.first(std::min<size_t>(kBlock, left.size()));
      left = left.subspan(block.size());
      if (!is_zero(block)) {
        const int64_t at = from;
        EVP_DigestUpdate(digest, &at, sizeof at);
        EVP_DigestUpdate(digest, block.data(), block.size());
      }
      from += static_cast<off_t>(block.size());
    }
  }
  return ok();
}

}  // namespace

Result<std::string> checksum_sparse(const std::string& path) {
  HAKO_TRY(auto fd, open_file(path, O_RDONLY));
  struct stat info {};
  if (::fstat(fd.get(), &info) < 0) return Error::from_errno(errno, "stat " + path);
  Digest digest(EVP_MD_CTX_new(), &EVP_MD_CTX_free);
  EVP_DigestInit_ex(digest.get(), EVP_sha256(), nullptr);
  const int64_t size = info.st_size;
  EVP_DigestUpdate(digest.get(), &size, sizeof size);
  std::vector<std::byte> buffer(kPiece);
  for (off_t position = 0; position < info.st_size;) {
    off_t data = ::lseek(fd.get(), position, SEEK_DATA);
    if (data < 0 && errno == ENXIO) break;  // only a hole is left
    if (data < 0) return Error::from_errno(errno, "seek data in " + path);
    off_t hole = ::lseek(fd.get(), data, SEEK_HOLE);
    if (hole < 0) return Error::from_errno(errno, "seek hole in " + path);
    off_t from = std::max(position, data - data % kBlock);
    off_t to = std::min<off_t>(info.st_size, (hole + kBlock - 1) / kBlock * kBlock);
    HAKO_TRYV(add_blocks(digest.get(), fd.get(), from, to, buffer));
    position = to;
  }
  unsigned char sum[EVP_MAX_MD_SIZE];
  unsigned length = 0;
  EVP_DigestFinal_ex(digest.get(), sum, &length);
  return hex_encode({reinterpret_cast<char*>(sum), length});
}

Result<void> record_checksum(const std::string& path, const std::string& sum_path) {
  HAKO_TRY(auto sum, checksum_sparse(path));
  return write_file_atomically(sum_path, sum, 0600);
}

Result<void> verify_checksum(const std::string& path, const std::string& sum_path) {
  HAKO_TRY(auto recorded, read_file(sum_path));
  HAKO_TRY(auto actual, checksum_sparse(path));
  if (actual != recorded)
    return Error(ErrorCode::corrupted, path + " does not match its checksum");
  return ok();
}

}  // namespace hako::image
