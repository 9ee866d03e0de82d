// Unpacking what a box sent, where the box chose the names.
#pragma once

#include <string>
#include <vector>

#include "base/fd.h"
#include "cli/tar.h"

namespace hako::cli {

struct ExtractionLimits {
  uint64_t bytes = uint64_t{64} << 30;
  uint64_t entries = 2'000'000;
};

/// Unpacks an archive below one directory. Whatever its names say, nothing outside is written: the
/// path of every entry is walked from the directory's descriptor without following links. Files
/// belong to whoever runs this and lose setuid, setgid and sticky bits; existing files are
/// replaced, never written through. Links that stay inside are made; other links, hard links and
/// devices are left out and told in skipped(). Blocking.
class Extraction : public TarSink {
 public:
  explicit Extraction(Fd directory, ExtractionLimits limits = {});

  Result<void> entry(const TarEntry& entry) override;
  Result<void> data(std::string_view bytes) override;
  Result<void> end_of_entry() override;
  /// Once the archive has ended: gives directories their modes.
  Result<void> finish();

  uint64_t files() const { return files_; }
  uint64_t bytes() const { return bytes_; }
  /// One line each, at most 100 of them, printable.
  const std::vector<std::string>& skipped() const { return skipped_; }

 private:
  Result<Fd> parent_of(const std::vector<std::string>& path);
  void skip(const std::string& name, std::string_view why);

  Fd root_;
  ExtractionLimits limits_;
  uint32_t mode_mask_;  // the umask, inverted
  uint64_t entries_ = 0, files_ = 0, bytes_ = 0;
  std::vector<std::string> skipped_;
  std::string name_;  // of the current file, for messages
  Fd file_;           // the current file, if data is wanted
  uint32_t file_mode_ = 0;
  struct Directory {
    std::string path;
    uint32_t mode;
  };
  std::vector<Directory> directories_;
};

/// The components of an archived name, "." dropped; empty for the root itself.
/// invalid_argument for an absolute name, "..", or something no file can be called.
Result<std::vector<std::string>> safe_components(std::string_view name);

/// Whether a link in a directory `depth` levels below the root stays below it: relative, ".." only
/// at its beginning and no more often than `depth`. Links that pass it stay inside in any
/// combination, since ".." is then only applied to real directories.
bool link_stays_inside(size_t depth, std::string_view target);

/// openat2 below `directory` without following any link.
Result<Fd> open_beneath(int directory, const std::string& path, int flags);

}  // namespace hako::cli
