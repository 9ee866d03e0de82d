#include "image/verified.h"

#include <sstream>

#include "base/fd.h"

namespace hako::image {

FileIdentity FileIdentity::of(const struct stat& info, std::string sha256) {
  return {.device = info.st_dev,
          .inode = info.st_ino,
          .size = static_cast<uint64_t>(info.st_size),
          .mtime_ns = info.st_mtim.tv_sec * 1'000'000'000 + info.st_mtim.tv_nsec,
          .sha256 = std::move(sha256)};
}

// One line per file: sha256 device inode size mtime name. Names have no spaces (see manifest.h).
VerifiedFiles::VerifiedFiles(const std::string& directory) : path_(directory + "/.verified") {
  auto text = read_file(path_, 64 << 10);
  if (!text) return;
  std::istringstream lines(text.value());
  FileIdentity identity;
  std::string name;
  while (lines >> identity.sha256 >> identity.device >> identity.inode >> identity.size >>
         identity.mtime_ns >> name)
    files_[name] = identity;
}

bool VerifiedFiles::contains(const std::string& name, const FileIdentity& identity) const {
  auto found = files_.find(name);
  return found != files_.end() && found->second == identity;
}

void VerifiedFiles::add(const std::string& name, FileIdentity identity) {
  files_[name] = std::move(identity);
  changed_ = true;
}

void VerifiedFiles::forget(const std::string& name) {
  if (files_.erase(name) > 0) changed_ = true;
}

void VerifiedFiles::save() {
  if (!changed_) return;
  std::ostringstream lines;
  for (const auto& [name, file] : files_)
    lines << file.sha256 << ' ' << file.device << ' ' << file.inode << ' ' << file.size << ' '
          << file.mtime_ns << ' ' << name << '\n';
  if (write_file_atomically(path_, lines.str(), 0644, Durability::process_end)) changed_ = false;
}

}  // namespace hako::image
