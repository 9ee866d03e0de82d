#include "guest/file_tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <filesystem>
#include <memory>

#include "guest/paths.h"

namespace hako::guest {
namespace {

constexpr std::string_view kAttributePrefix = "user.e2b.";
constexpr size_t kMostAttributeBytes = 64 << 10;

/// The letters the contract puts before the permission bits.
std::string kind_letters(mode_t mode) {
  std::string letters;
  if (S_ISDIR(mode)) letters += 'd';
  if (S_ISLNK(mode)) letters += 'L';
  if (S_ISBLK(mode) || S_ISCHR(mode)) letters += 'D';
  if (S_ISFIFO(mode)) letters += 'p';
  if (S_ISSOCK(mode)) letters += 'S';
  if (mode & S_ISUID) letters += 'u';
  if (mode & S_ISGID) letters += 'g';
  if (S_ISCHR(mode)) letters += 'c';
  if (mode & S_ISVTX) letters += 't';
  return letters;
}

wire::FileType type_of(mode_t mode) {
  if (S_ISREG(mode)) return wire::FileType::file;
  if (S_ISDIR(mode)) return wire::FileType::directory;
  if (S_ISLNK(mode)) return wire::FileType::symlink;
  return wire::FileType::unspecified;
}

/// A symbolic link is told as what it leads to; one that leads nowhere has no type.
void describe_link(const std::string& path, wire::EntryInfo& info) {
  struct stat target {};
  info.type = wire::FileType::unspecified;
  if (::stat(path.c_str(), &target) == 0) {
    info.type = type_of(target.st_mode);
    info.mode = target.st_mode & 0777;
  }
  std::unique_ptr<char, decltype(&::free)> resolved(::realpath(path.c_str(), nullptr), &::free);
  if (resolved) {
    info.symlink_target = resolved.get();
    return;
  }
  char text[PATH_MAX];
  ssize_t length = ::readlink(path.c_str(), text, sizeof text);
  if (length >= 0) info.symlink_target.emplace(text, static_cast<size_t>(length));
}

struct CloseFolder {
  void operator()(DIR* folder) const { ::closedir(folder); }
};

class Lister {
 public:
  explicit Lister(size_t limit) : limit_(limit) {}

  Result<void> list(const std::string& path, int depth) {
    std::unique_ptr<DIR, CloseFolder> folder(::opendir(path.c_str()));
    if (!folder) return Error::from_errno(errno, "read directory '" + path + "'");
    std::vector<std::string> names;
    while (const dirent* entry = ::readdir(folder.get())) {
      std::string_view name = entry->d_name;
      if (name == "." || name == "..") continue;
      if (found.size() + names.size() >= limit_)
        return Error(ErrorCode::resource_exhausted,
                     "more than " + std::to_string(limit_) + " entries");
      names.emplace_back(name);
    }
    // Not one descriptor per level of the tree.
    folder.reset();
    std::sort(names.begin(), names.end());
    for (const auto& name : names) {
      std::string full = path.back() == '/' ? path + name : path + "/" + name;
      auto entry = stat_entry(full);
      if (!entry) continue;  // gone since
      bool descend = depth > 1 && entry.value().info.type == wire::FileType::directory &&
                     !entry.value().info.symlink_target;
      found.push_back(std::move(entry.value()));
      if (!descend) continue;
      auto below = list(full, depth - 1);
      // A folder that has vanished or may not be read is told without what is in it.
      if (!below && below.error().code() == ErrorCode::resource_exhausted) return below;
    }
    return ok();
  }

  std::vector<FoundEntry> found;

 private:
  size_t limit_;
};

}  // namespace

Result<FoundEntry> stat_entry(const std::string& path) {
  struct stat info {};
  if (::lstat(path.c_str(), &info) < 0) {
    if (errno == ENOENT || errno == ENOTDIR)
      return Error(ErrorCode::not_found, "path '" + path + "' does not exist");
    return Error::from_errno(errno, "path '" + path + "'");
  }
  FoundEntry found;
  found.uid = info.st_uid;
  found.gid = info.st_gid;
  found.info.name = base_name(path);
  found.info.path = path;
  found.info.type = type_of(info.st_mode);
  found.info.size = info.st_size;
  found.info.mode = info.st_mode & 0777;
  found.info.permissions = wire::permission_text(kind_letters(info.st_mode), info.st_mode);
  found.info.modified_seconds = info.st_mtim.tv_sec;
  found.info.modified_nanoseconds = static_cast<uint32_t>(info.st_mtim.tv_nsec);
  if (S_ISLNK(info.st_mode)) describe_link(path, found.info);
  if (found.info.type == wire::FileType::file) found.info.metadata = read_metadata(path);
  return found;
}

Result<std::vector<FoundEntry>> list_entries(const std::string& path, int depth, size_t limit) {
  struct stat info {};
  if (::stat(path.c_str(), &info) < 0) {
    if (errno == ENOENT || errno == ENOTDIR)
      return Error(ErrorCode::not_found, "path '" + path + "' does not exist");
    if (errno == ELOOP)
      return Error(ErrorCode::failed_precondition, "path '" + path + "' is a loop of links");
    return Error::from_errno(errno, "path '" + path + "'");
  }
  if (!S_ISDIR(info.st_mode))
    return Error(ErrorCode::invalid_argument, "path '" + path + "' is not a directory");
  Lister lister(limit);
  HAKO_TRYV(lister.list(path, depth));
  return std::move(lister.found);
}

Result<void> ensure_directory(const std::string& path, const Owner& owner) {
  struct stat info {};
  if (::stat(path.c_str(), &info) == 0) {
    if (S_ISDIR(info.st_mode)) return ok();
    return Error(ErrorCode::invalid_argument, "path '" + path + "' is not a directory");
  }
  if (errno != ENOENT) return Error::from_errno(errno, "path '" + path + "'");
  std::string parent(directory_name(path));
  if (parent != path) {
    HAKO_TRYV(ensure_directory(parent, owner));
  }
  if (::mkdir(path.c_str(), 0755) < 0)
    return errno == EEXIST
               ? Result<void>(ok())
               : Result<void>(Error::from_errno(errno, "make directory '" + path + "'"));
  if (owner.give && ::lchown(path.c_str(), owner.uid, owner.gid) < 0)
    return Error::from_errno(errno, "own directory '" + path + "'");
  return ok();
}

Result<void> make_directory(const std::string& path, const Owner& owner) {
  struct stat info {};
  if (::stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode))
    return Error(ErrorCode::already_exists, "directory '" + path + "' already exists");
  return ensure_directory(path, owner);
}

Result<void> move_entry(const std::string& source, const std::string& destination,
                        const Owner& owner) {
  struct stat info {};
  if (::lstat(source.c_str(), &info) < 0) {
    if (errno == ENOENT || errno == ENOTDIR)
      return Error(ErrorCode::not_found, "path '" + source + "' does not exist");
    return Error::from_errno(errno, "path '" + source + "'");
  }
  HAKO_TRYV(ensure_directory(std::string(directory_name(destination)), owner));
  if (::rename(source.c_str(), destination.c_str()) < 0)
    return Error::from_errno(errno, "move '" + source + "' to '" + destination + "'");
  return ok();
}

Result<void> remove_entry(const std::string& path) {
  if (clean_path(path) == "/")
    return Error(ErrorCode::invalid_argument, "the root cannot be removed");
  std::error_code error;
  std::filesystem::remove_all(path, error);
  // Below a file there is nothing to remove either.
  if (error && error.value() != ENOENT && error.value() != ENOTDIR)
    return Error::from_errno(error.value(), "remove '" + path + "'");
  return ok();
}

FileMetadata read_metadata(const std::string& path) {
  FileMetadata metadata;
  char names[4096];
  ssize_t length = ::listxattr(path.c_str(), names, sizeof names);
  std::string_view list(names, length > 0 ? static_cast<size_t>(length) : 0);
  while (!list.empty()) {
    size_t end = std::min(list.find('\0'), list.size() - 1);
    std::string name(list.substr(0, end));
    list.remove_prefix(end + 1);
    if (!name.starts_with(kAttributePrefix)) continue;
    std::string value(kMostAttributeBytes, '\0');
    ssize_t size = ::getxattr(path.c_str(), name.c_str(), value.data(), value.size());
    if (size < 0) continue;
    value.resize(static_cast<size_t>(size));
    metadata.emplace_back(name.substr(kAttributePrefix.size()), std::move(value));
  }
  return metadata;
}

Result<void> write_metadata(const Fd& file, const FileMetadata& metadata) {
  char names[4096];
  ssize_t length = ::flistxattr(file.get(), names, sizeof names);
  std::string_view list(names, length > 0 ? static_cast<size_t>(length) : 0);
  while (!list.empty()) {
    size_t end = std::min(list.find('\0'), list.size() - 1);
    std::string name(list.substr(0, end));
    list.remove_prefix(end + 1);
    if (name.starts_with(kAttributePrefix)) ::fremovexattr(file.get(), name.c_str());
  }
  for (const auto& [key, value] : metadata) {
    std::string name = std::string(kAttributePrefix) + key;
    if (::fsetxattr(file.get(), name.c_str(), value.data(), value.size(), 0) == 0) continue;
    // File systems have limits of their own, and say so as if the disk were full.
    if (errno == ENOSPC || errno == E2BIG || errno == ERANGE)
      return Error(ErrorCode::invalid_argument,
                   "bad metadata: more than the file system keeps with a file");
    return Error::from_errno(errno, "keep metadata '" + key + "'");
  }
  return ok();
}

}  // namespace hako::guest
