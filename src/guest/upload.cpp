#include "guest/upload.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>

#include "guest/paths.h"

namespace hako::guest {

Result<Upload> Upload::open(std::string path, const Owner& owner,
                            std::optional<uint64_t> expected) {
  struct stat info {};
  if (path.back() == '/' || (::stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode)))
    return Error(ErrorCode::invalid_argument, "path '" + path + "' is a directory");
  std::string folder(directory_name(path));
  HAKO_TRYV(ensure_directory(folder, owner));
  struct statvfs space {};
  // Known beforehand to fail: the file that is there now can stay.
  if (expected && ::statvfs(folder.c_str(), &space) == 0) {
    uint64_t available = uint64_t{space.f_bavail} * space.f_frsize +
                         (S_ISREG(info.st_mode) ? uint64_t(info.st_blocks) * 512 : 0);
    if (*expected > available)
      return Error(ErrorCode::no_space, "not enough disk space: " + std::to_string(*expected) +
                                            " bytes wanted, " + std::to_string(available) +
                                            " available");
  }
  // Non-blocking for the sake of pipes, which would wait for a reader.
  auto file = open_file(path, O_WRONLY | O_CREAT | O_TRUNC | O_NONBLOCK | O_NOCTTY, 0644);
  if (!file) {
    if (file.error().os_error() == ENXIO)
      return Error(ErrorCode::invalid_argument, "path '" + path + "' is not a regular file");
    return std::move(file).error();
  }
  if (::fstat(file.value().get(), &info) < 0 || !S_ISREG(info.st_mode))
    return Error(ErrorCode::invalid_argument, "path '" + path + "' is not a regular file");
  Upload upload(std::move(path), std::move(file.value()));
  if (owner.give && ::fchown(upload.file_.get(), owner.uid, owner.gid) < 0)
    return Error::from_errno(errno, "own '" + upload.path_ + "'");
  return upload;
}

Upload::~Upload() {
  if (file_) ::unlink(path_.c_str());
}

Result<void> Upload::write(std::string_view bytes) {
  return write_all(file_.get(), bytes);
}

Result<void> Upload::finish(const FileMetadata& metadata) {
  HAKO_TRYV(write_metadata(file_, metadata));
  file_.reset();
  return ok();
}

}  // namespace hako::guest
