#include "audit/folder.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <memory>

#include "base/random.h"

namespace hako::audit {
namespace {

constexpr size_t kTemporaryBytes = 6;

Error no_plain_file(const std::string& path) {
  return Error(ErrorCode::failed_precondition,
               path + " is no plain file: links and the like are not followed here");
}

}  // namespace

Result<Folder> Folder::open(const std::string& path) {
  // A last '/' would have a link followed all the same.
  std::string plain = path;
  while (plain.size() > 1 && plain.back() == '/') plain.pop_back();
  Fd fd(::open(plain.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (fd) return Folder(std::move(plain), std::move(fd));
  int error = errno;
  struct stat info {};
  bool is_link = ::lstat(plain.c_str(), &info) == 0 && S_ISLNK(info.st_mode);
  if (!is_link) return Error::from_errno(error, "open " + plain);
  return Error(ErrorCode::failed_precondition,
               plain + " is a link, which is not followed here: name the folder itself");
}

Result<Fd> Folder::open_file(const std::string& name, int flags, mode_t mode) const {
  // Not blocking: else somebody's pipe in the place of a file would hold us up.
  Fd fd(::openat(fd_.get(), name.c_str(), flags | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, mode));
  if (!fd && (errno == ELOOP || errno == ENXIO)) return no_plain_file(path_of(name));
  if (!fd) return Error::from_errno(errno, "open " + path_of(name));
  struct stat info {};
  if (::fstat(fd.get(), &info) < 0) return Error::from_errno(errno, "stat " + path_of(name));
  if (!S_ISREG(info.st_mode)) return no_plain_file(path_of(name));
  return fd;
}

Result<std::string> Folder::read(const std::string& name, size_t limit) const {
  HAKO_TRY(auto file, open_file(name, O_RDONLY));
  std::string text;
  char buffer[4096];
  for (;;) {
    ssize_t count = ::read(file.get(), buffer, sizeof buffer);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return Error::from_errno(errno, "read " + path_of(name));
    if (count == 0) return text;
    text.append(buffer, size_t(count));
    if (text.size() > limit) {
      return Error(ErrorCode::too_large,
                   path_of(name) + " is larger than " + std::to_string(limit) + " bytes");
    }
  }
}

Result<struct stat> Folder::look_at(const std::string& name) const {
  struct stat info {};
  if (::fstatat(fd_.get(), name.c_str(), &info, AT_SYMLINK_NOFOLLOW) == 0) return info;
  return Error::from_errno(errno, "stat " + path_of(name));
}

bool Folder::has(const std::string& name) const {
  return look_at(name).has_value();
}

Result<void> Folder::write(const std::string& name, std::string_view text, mode_t mode) const {
  std::string temporary = name + ".tmp-" + random_hex(kTemporaryBytes);
  auto written = [&]() -> Result<void> {
    HAKO_TRY(auto file, open_file(temporary, O_WRONLY | O_CREAT | O_EXCL, mode));
    if (::fchmod(file.get(), mode) < 0) {
      return Error::from_errno(errno, "chmod " + path_of(temporary));
    }
    HAKO_TRYV(write_all(file.get(), text));
    if (::fsync(file.get()) < 0) return Error::from_errno(errno, "fsync " + path_of(temporary));
    return rename(temporary, name);
  }();
  if (!written) (void)remove(temporary);
  return written;
}

Result<void> Folder::rename(const std::string& from, const std::string& to) const {
  if (::renameat(fd_.get(), from.c_str(), fd_.get(), to.c_str()) == 0) return ok();
  return Error::from_errno(errno, "rename to " + path_of(to));
}

Result<void> Folder::remove(const std::string& name) const {
  if (::unlinkat(fd_.get(), name.c_str(), 0) == 0 || errno == ENOENT) return ok();
  return Error::from_errno(errno, "remove " + path_of(name));
}

Result<std::vector<std::string>> Folder::names() const {
  // One of its own, as the place in it is that of the open file.
  int again = ::openat(fd_.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (again < 0) return Error::from_errno(errno, "open " + path_);
  std::unique_ptr<DIR, int (*)(DIR*)> entries(::fdopendir(again), ::closedir);
  if (!entries) {
    int error = errno;
    ::close(again);
    return Error::from_errno(error, "open " + path_);
  }
  std::vector<std::string> found;
  errno = 0;
  while (auto* entry = ::readdir(entries.get())) {
    found.emplace_back(entry->d_name);
    errno = 0;
  }
  if (errno != 0) return Error::from_errno(errno, "read " + path_);
  return found;
}

Result<void> Folder::sync() const {
  if (::fsync(fd_.get()) == 0) return ok();
  return Error::from_errno(errno, "fsync " + path_);
}

SplitPath split_path(const std::string& path) {
  size_t slash = path.rfind('/');
  if (slash == std::string::npos) return {".", path};
  return {slash == 0 ? "/" : path.substr(0, slash), path.substr(slash + 1)};
}

Result<std::string> read_unfollowed(const std::string& path, size_t limit) {
  SplitPath place = split_path(path);
  HAKO_TRY(auto folder, Folder::open(place.folder));
  return folder.read(place.name, limit);
}

}  // namespace hako::audit
