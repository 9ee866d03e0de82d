// A folder of this machine as a stream.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "cli/streams.h"
#include "cli/tar.h"

namespace hako::cli {

/// Reads a directory as a tar archive, without following links and without holding more than one
/// piece of it. Sockets, pipes and devices are left out and told in skipped().
class TreeSource : public ByteSource {
 public:
  explicit TreeSource(Fd directory);

  Task<Result<size_t>> read_some(asio::mutable_buffer into) override;

  /// What stopped the reading, if something did. An archive that ends by an error is cut short,
  /// so its reader notices too.
  const std::optional<Error>& failure() const { return failure_; }
  const std::vector<std::string>& skipped() const { return skipped_; }
  uint64_t files() const { return files_; }
  uint64_t bytes() const { return bytes_; }

 private:
  struct Level {
    std::string path;  // below the root, with a slash at the end; empty for the root
    Fd directory;
    std::vector<std::string> names;  // still to do, last first
  };
  Result<size_t> read_here(char* into, size_t size);
  Result<void> next_entry();
  Result<void> enter(std::string path, Fd directory);

  std::vector<Level> levels_;
  std::string pending_;  // headers, padding
  size_t pending_done_ = 0;
  Fd file_;
  std::string file_name_;
  uint64_t file_left_ = 0, file_size_ = 0;
  bool trailer_sent_ = false;
  std::optional<Error> failure_;
  std::vector<std::string> skipped_;
  uint64_t files_ = 0, bytes_ = 0;
};

}  // namespace hako::cli
