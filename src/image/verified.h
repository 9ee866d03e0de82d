// Which files of an image were already found to have their checksum, so as not to read a quarter
// of a gigabyte at every start.
#pragma once

#include <sys/stat.h>

#include <map>
#include <string>

namespace hako::image {

/// What a file was when it was last checked. Writing to it or replacing it changes at least one.
struct FileIdentity {
  uint64_t device = 0;
  uint64_t inode = 0;
  uint64_t size = 0;
  int64_t mtime_ns = 0;
  std::string sha256;

  static FileIdentity of(const struct stat& info, std::string sha256);
  bool operator==(const FileIdentity&) const = default;
};

/// The notes in <directory>/.verified. Only a shortcut: an unreadable note counts as none, and one
/// that cannot be written (a read-only folder) is not missed.
class VerifiedFiles {
 public:
  explicit VerifiedFiles(const std::string& directory);
  bool contains(const std::string& name, const FileIdentity& identity) const;
  void add(const std::string& name, FileIdentity identity);
  void forget(const std::string& name);
  /// Writes what was added or forgotten since.
  void save();

 private:
  std::string path_;
  std::map<std::string, FileIdentity> files_;
  bool changed_ = false;
};

}  // namespace hako::image
