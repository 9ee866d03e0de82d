#include "node/saved_disk.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <vector>

#include "base/fd.h"
#include "image/disk_checksum.h"

namespace hako::node {
namespace {

constexpr size_t kPiece = 1 << 20;
constexpr uint64_t kLongestText = 4 << 20;

/// What follows in a sealed disk: so many bytes of data, at so many from the start. Of no length:
/// the end, at the disk's size.
struct Extent {
  uint64_t offset = 0;
  uint64_t length = 0;
};

Result<void> write_extent(engine::SealedWriter& writer, Extent extent) {
  return writer.write(std::as_bytes(std::span(&extent, 1)));
}

std::string name_of(const std::string& path) {
  return path.substr(path.rfind('/') + 1);
}

Result<void> seal_disk(int disk, int target, const engine::Seal& seal) {
  HAKO_TRY(auto writer, engine::SealedWriter::begin(target, seal));
  struct stat info {};
  if (::fstat(disk, &info) < 0) return Error::from_errno(errno, "stat a disk");
  std::vector<std::byte> piece(kPiece);
  for (off_t at = 0; at < info.st_size;) {
    off_t data = ::lseek(disk, at, SEEK_DATA);
    if (data < 0 && errno == ENXIO) break;
    off_t hole = data < 0 ? -1 : ::lseek(disk, data, SEEK_HOLE);
    if (hole < 0) return Error::from_errno(errno, "seek a disk");
    for (at = data; at < hole;) {
      auto length = static_cast<size_t>(std::min<off_t>(hole - at, kPiece));
      auto part = std::span(piece).first(length);
      HAKO_TRYV(read_all_at(disk, part, static_cast<uint64_t>(at)));
      HAKO_TRYV(write_extent(writer, {static_cast<uint64_t>(at), length}));
      HAKO_TRYV(writer.write(part));
      at += static_cast<off_t>(length);
    }
  }
  HAKO_TRYV(write_extent(writer, {static_cast<uint64_t>(info.st_size), 0}));
  return writer.finish();
}

Result<void> unseal_disk(int source, const std::string& name, int target,
                         const engine::Seal& seal) {
  HAKO_TRY(auto reader, engine::SealedReader::begin(source, name, seal));
  std::vector<std::byte> piece(kPiece);
  for (;;) {
    Extent extent;
    HAKO_TRYV(reader.read(std::as_writable_bytes(std::span(&extent, 1))));
    if (extent.length == 0) {
      if (::ftruncate(target, static_cast<off_t>(extent.offset)) < 0)
        return Error::from_errno(errno, "size a disk");
      return reader.finish();
    }
    if (extent.length > kPiece) return Error(ErrorCode::corrupted, name + ": malformed");
    auto part = std::span(piece).first(extent.length);
    HAKO_TRYV(reader.read(part));
    HAKO_TRYV(write_all_at(target, part, extent.offset));
  }
}

}  // namespace

Result<void> link_or_copy(int file, const std::string& path) {
  std::string source = "/proc/self/fd/" + std::to_string(file);
  if (::linkat(AT_FDCWD, source.c_str(), AT_FDCWD, path.c_str(), AT_SYMLINK_FOLLOW) == 0) {
    if (::fsync(file) < 0) return Error::from_errno(errno, "fsync " + path);
    return ok();
  }
  HAKO_TRY(auto target, open_file(path, O_RDWR | O_CREAT | O_EXCL, 0600));
  HAKO_TRY(auto method, clone_file(file, target.get()));
  (void)method;
  if (::fsync(target.get()) < 0) return Error::from_errno(errno, "fsync " + path);
  return ok();
}

Result<std::string> save_disk(int disk, const std::string& path, const engine::Seal& seal) {
  if (seal.key) {
    HAKO_TRYV(save_sparse(disk, path, seal));
    return std::string();
  }
  HAKO_TRYV(link_or_copy(disk, path));
  return image::checksum_sparse(path);
}

Result<Fd> load_disk(const std::string& path, const std::string& checksum,
                     const engine::Seal& seal, const std::string& folder) {
  if (seal.key) {
    HAKO_TRY(auto clear, open_file(folder, O_RDWR | O_TMPFILE, 0600));
    HAKO_TRYV(load_sparse(path, clear.get(), seal));
    return clear;
  }
  HAKO_TRY(auto file, open_file(path, O_RDONLY));
  HAKO_TRY(auto found, image::checksum_sparse(path));
  if (found != checksum)
    return Error(ErrorCode::corrupted, "disk: does not match its checksum");
  return file;
}

Result<void> save_sparse(int file, const std::string& path, const engine::Seal& seal) {
  HAKO_TRY(auto target, open_file(path, O_RDWR | O_CREAT | O_EXCL, 0600));
  return seal_disk(file, target.get(), seal);
}

Result<void> load_sparse(const std::string& path, int target, const engine::Seal& seal) {
  HAKO_TRY(auto file, open_file(path, O_RDONLY));
  return unseal_disk(file.get(), name_of(path), target, seal);
}

Result<void> save_text(const std::string& path, std::string_view text, const engine::Seal& seal) {
  HAKO_TRY(auto target, open_file(path, O_RDWR | O_CREAT | O_EXCL, 0600));
  HAKO_TRY(auto writer, engine::SealedWriter::begin(target.get(), seal));
  uint64_t length = text.size();
  HAKO_TRYV(writer.write(std::as_bytes(std::span(&length, 1))));
  HAKO_TRYV(writer.write(std::as_bytes(std::span(text))));
  return writer.finish();
}

Result<std::string> load_text(const std::string& path, const engine::Seal& seal) {
  HAKO_TRY(auto file, open_file(path, O_RDONLY));
  HAKO_TRY(auto reader, engine::SealedReader::begin(file.get(), name_of(path), seal));
  uint64_t length = 0;
  HAKO_TRYV(reader.read(std::as_writable_bytes(std::span(&length, 1))));
  if (length > kLongestText) return Error(ErrorCode::corrupted, name_of(path) + ": malformed");
  std::string text(length, '\0');
  HAKO_TRYV(reader.read(std::as_writable_bytes(std::span(text))));
  HAKO_TRYV(reader.finish());
  return text;
}

}  // namespace hako::node
