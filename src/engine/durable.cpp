#include "engine/durable.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "base/fd.h"

namespace hako::engine {

Result<void> sync_directory(const std::string& path) {
  HAKO_TRY(auto fd, open_file(path, O_RDONLY | O_DIRECTORY));
  if (::fsync(fd.get()) < 0) return Error::from_errno(errno, "fsync " + path);
  return ok();
}

Result<void> publish(const std::string& temporary, const std::string& path) {
  if (::renameat2(AT_FDCWD, temporary.c_str(), AT_FDCWD, path.c_str(), RENAME_NOREPLACE) < 0)
    return Error::from_errno(errno, "rename to " + path);
  std::filesystem::path parent = std::filesystem::path(path).parent_path();
  return sync_directory(parent.empty() ? "." : parent.string());
}

Result<void> put_in_place(const std::string& temporary, const std::string& path) {
  namespace fs = std::filesystem;
  std::error_code error;
  bool is_new = !fs::exists(path, error);
  auto exchange = [&]() -> Result<void> {
    unsigned flags = is_new ? RENAME_NOREPLACE : RENAME_EXCHANGE;
    if (::renameat2(AT_FDCWD, temporary.c_str(), AT_FDCWD, path.c_str(), flags) < 0)
      return Error::from_errno(errno, "rename to " + path);
    return ok();
  };
  HAKO_TRYV(exchange());
  auto synced = sync_directory(fs::path(path).parent_path());
  if (!synced && is_new) fs::rename(path, temporary, error);
  if (!synced && !is_new) (void)exchange();
  if (synced) fs::remove_all(temporary, error);
  return synced;
}

}  // namespace hako::engine
