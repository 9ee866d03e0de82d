// File descriptors with one owner each.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "base/result.h"

namespace hako {

/// Owns one file descriptor; closes it at the end. Move-only. -1 means none.
/// Everything that makes an Fd in this project sets close-on-exec.
class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept;
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  ~Fd() { reset(); }

  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }
  /// Gives up ownership.
  int release() { return std::exchange(fd_, -1); }
  void reset();
  /// A second descriptor for the same open file.
  Result<Fd> duplicate() const;

 private:
  int fd_ = -1;
};

/// Free space for root on the file system of `path`, MiB.
Result<int64_t> free_disk_mib(const std::string& path);

/// Lets this process have as many descriptors as it may ask for.
void raise_descriptor_limit();

/// open(2) with O_CLOEXEC added. Error names the path.
Result<Fd> open_file(const std::string& path, int flags, mode_t mode = 0);
/// Whole file as text. Errors: as open; too_large past `limit` bytes.
Result<std::string> read_file(const std::string& path, size_t limit = 1 << 20);
/// Whether a write must survive a power cut, or only the end of this process.
enum class Durability { power_cut, process_end };
/// Replaces `path` by writing a temporary sibling and renaming it; `mode` as given, umask ignored.
/// After a crash the file holds the old or the new content, never a part. `process_end` spares the
/// fsync: for records of things that a power cut ends too.
Result<void> write_file_atomically(const std::string& path, std::string_view content, mode_t mode,
                                   Durability durability = Durability::power_cut);
/// Writes all bytes, retrying short writes and EINTR.
Result<void> write_all(int fd, std::span<const std::byte> bytes);
Result<void> write_all(int fd, std::string_view text);

/// Fills `bytes` with what the file has from `offset` on, whatever its own position is.
/// Errors: corrupted if it ends before; the OS error.
Result<void> read_all_at(int fd, std::span<std::byte> bytes, uint64_t offset);
/// Writes all bytes to `offset` and on, whatever the file's own position is.
Result<void> write_all_at(int fd, std::span<const std::byte> bytes, uint64_t offset);

enum class CopyMethod { reflink, sparse_copy };
/// Makes `target` (an empty file, opened for writing) a copy of `source`: by FICLONE where the file
/// system can, else by copying the data extents only. Says which way it went.
/// Errors: no_space, or the OS error.
Result<CopyMethod> clone_file(int source, int target);

/// A pair of connected unix stream sockets.
Result<std::pair<Fd, Fd>> socket_pair(int type);

}  // namespace hako
