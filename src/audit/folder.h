// A folder whose owner is not trusted by whoever reads in it, as root may: no link in it is
// followed, and nothing is opened that is no plain file. Blocking.
#pragma once

#include <sys/stat.h>
#include <sys/types.h>

#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"

namespace hako::audit {

class Folder {
 public:
  /// `path` must not be a link itself; those above it may. Errors: those of files;
  /// failed_precondition for a link.
  static Result<Folder> open(const std::string& path);

  // `name` is of a file in it, without any '/'. Errors: those of files; failed_precondition for
  // a link, or what is no plain file.

  Result<Fd> open_file(const std::string& name, int flags, mode_t mode = 0) const;
  /// Whole file as text; too_large past `limit` bytes.
  Result<std::string> read(const std::string& name, size_t limit) const;
  /// Of the entry itself, also where that is a link. not_found.
  Result<struct stat> look_at(const std::string& name) const;
  /// Whether there is anything of that name.
  bool has(const std::string& name) const;
  /// Replaces it as write_file_atomically() does, so that it outlives a power cut.
  Result<void> write(const std::string& name, std::string_view text, mode_t mode) const;
  Result<void> rename(const std::string& from, const std::string& to) const;
  /// Missing is success.
  Result<void> remove(const std::string& name) const;
  Result<std::vector<std::string>> names() const;
  /// Its entries outlive the machine.
  Result<void> sync() const;

  const std::string& path() const { return path_; }

 private:
  Folder(std::string path, Fd fd) : path_(std::move(path)), fd_(std::move(fd)) {}
  std::string path_of(const std::string& name) const { return path_ + "/" + name; }

  std::string path_;  ///< for messages
  Fd fd_;
};

/// A path as the folder and the name in it: "/a/b" is "/a" and "b".
struct SplitPath {
  std::string folder, name;
};
SplitPath split_path(const std::string& path);

/// Folder::read() of a path.
Result<std::string> read_unfollowed(const std::string& path, size_t limit);

}  // namespace hako::audit
