#include "base/fd.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>

#include "base/random.h"

namespace hako {

Fd& Fd::operator=(Fd&& other) noexcept {
  if (this != &other) {
    reset();
    fd_ = std::exchange(other.fd_, -1);
  }
  return *this;
}

void Fd::reset() {
  // Linux releases the descriptor even when close(2) reports EINTR, so it is never retried.
  if (fd_ >= 0) ::close(std::exchange(fd_, -1));
}

Result<Fd> Fd::duplicate() const {
  int copy = ::fcntl(fd_, F_DUPFD_CLOEXEC, 0);
  if (copy < 0) return Error::from_errno(errno, "duplicate descriptor");
  return Fd(copy);
}

Result<int64_t> free_disk_mib(const std::string& path) {
  struct statvfs info {};
  if (::statvfs(path.c_str(), &info) < 0) return Error::from_errno(errno, "statvfs " + path);
  return static_cast<int64_t>(info.f_bavail * info.f_frsize >> 20);
}

void raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

Result<Fd> open_file(const std::string& path, int flags, mode_t mode) {
  int fd;
  do {
    fd = ::open(path.c_str(), flags | O_CLOEXEC, mode);
  } while (fd < 0 && errno == EINTR);
  if (fd < 0) return Error::from_errno(errno, "open " + path);
  return Fd(fd);
}

Result<std::string> read_file(const std::string& path, size_t limit) {
  HAKO_TRY(auto fd, open_file(path, O_RDONLY));
  std::string content;
  char buffer[16384];
  for (;;) {
    ssize_t n = ::read(fd.get(), buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Error::from_errno(errno, "read " + path);
    if (n == 0) return content;
    if (content.size() + static_cast<size_t>(n) > limit)
      return Error(ErrorCode::too_large,
                   "read " + path + ": larger than " + std::to_string(limit) + " bytes");
    content.append(buffer, static_cast<size_t>(n));
  }
}

Result<void> write_file_atomically(const std::string& path, std::string_view content, mode_t mode,
                                   Durability durability) {
  std::string temporary = path + ".tmp-" + random_hex(6);
  auto write = [&]() -> Result<void> {
    HAKO_TRY(auto fd, open_file(temporary, O_WRONLY | O_CREAT | O_EXCL, mode));
    if (::fchmod(fd.get(), mode) < 0) return Error::from_errno(errno, "chmod " + temporary);
    HAKO_TRYV(write_all(fd.get(), content));
    if (durability == Durability::power_cut && ::fsync(fd.get()) < 0)
      return Error::from_errno(errno, "fsync " + temporary);
    if (::rename(temporary.c_str(), path.c_str()) < 0)
      return Error::from_errno(errno, "rename to " + path);
    return ok();
  };
  auto result = write();
  if (!result) ::unlink(temporary.c_str());
  return result;
}

Result<void> write_all(int fd, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Error::from_errno(errno, "write");
    bytes = bytes.subspan(static_cast<size_t>(n));
  }
  return ok();
}

Result<void> write_all(int fd, std::string_view text) {
  return write_all(fd, std::as_bytes(std::span(text.data(), text.size())));
}

Result<void> read_all_at(int fd, std::span<std::byte> bytes, uint64_t offset) {
  while (!bytes.empty()) {
    ssize_t n = ::pread(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Error::from_errno(errno, "read");
    if (n == 0) return Error(ErrorCode::corrupted, "read: the file ends too early");
    bytes = bytes.subspan(static_cast<size_t>(n));
    offset += static_cast<uint64_t>(n);
  }
  return ok();
}

Result<void> write_all_at(int fd, std::span<const std::byte> bytes, uint64_t offset) {
  while (!bytes.empty()) {
    ssize_t n = ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Error::from_errno(errno, "write");
    bytes = bytes.subspan(static_cast<size_t>(n));
    offset += static_cast<uint64_t>(n);
  }
  return ok();
}

namespace {

Result<void> copy_range(int source, int target, off_t from, off_t to) {
  off_t out = from;
  while (from < to) {
    ssize_t n = ::copy_file_range(source, &from, target, &out, static_cast<size_t>(to - from), 0);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Error::from_errno(errno, "copy file data");
    if (n == 0) return Error(ErrorCode::corrupted, "copy file data: source ended early");
  }
  return ok();
}

}  // namespace

Result<CopyMethod> clone_file(int source, int target) {
  if (::ioctl(target, FICLONE, source) == 0) return CopyMethod::reflink;
  struct stat info {};
  if (::fstat(source, &info) < 0) return Error::from_errno(errno, "stat copy source");
  if (::ftruncate(target, info.st_size) < 0) return Error::from_errno(errno, "size copy target");
  for (off_t position = 0; position < info.st_size;) {
    off_t data = ::lseek(source, position, SEEK_DATA);
    if (data < 0 && errno == ENXIO) break;  // only a hole is left
    if (data < 0) return Error::from_errno(errno, "seek data");
    off_t hole = ::lseek(source, data, SEEK_HOLE);
    if (hole < 0) return Error::from_errno(errno, "seek hole");
    HAKO_TRYV(copy_range(source, target, data, hole));
    position = hole;
  }
  return CopyMethod::sparse_copy;
}

Result<std::pair<Fd, Fd>> socket_pair(int type) {
  int fds[2];
  if (::socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, fds) < 0)
    return Error::from_errno(errno, "socketpair");
  return std::pair{Fd(fds[0]), Fd(fds[1])};
}

}  // namespace hako
