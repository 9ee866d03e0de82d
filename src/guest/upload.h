// A file that is being uploaded. The calls block: for threads of the blocking pool.
#pragma once

#include <optional>
#include <string>

#include "guest/file_tree.h"

namespace hako::guest {

/// Writes a file in place and removes it again unless finish() was reached: half a file must not
/// be taken for a whole one.
class Upload {
 public:
  /// Makes missing parents and opens `path`, which is emptied. `expected`: bytes to come, if known.
  /// Errors: invalid_argument (a directory, or no regular file), no_space.
  static Result<Upload> open(std::string path, const Owner& owner,
                             std::optional<uint64_t> expected);
  Upload(Upload&&) noexcept = default;
  Upload& operator=(Upload&&) = delete;
  ~Upload();

  /// Errors: no_space.
  Result<void> write(std::string_view bytes);
  Result<void> finish(const FileMetadata& metadata);
  const std::string& path() const { return path_; }

 private:
  Upload(std::string path, Fd file) : path_(std::move(path)), file_(std::move(file)) {}

  std::string path_;
  Fd file_;  ///< closed once the file is whole
};

}  // namespace hako::guest
