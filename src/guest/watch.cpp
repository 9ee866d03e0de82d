#include "guest/watch.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>

namespace hako::guest {
namespace {

constexpr size_t kMostFolders = 65'536;
/// Entries that one scan may tell of.
constexpr size_t kMostNews = 100'000;
constexpr size_t kReadBytes = 64 << 10;
constexpr uint32_t kMask = IN_CREATE | IN_MODIFY | IN_ATTRIB | IN_DELETE | IN_MOVED_FROM |
                           IN_MOVED_TO | IN_DELETE_SELF | IN_MOVE_SELF | IN_EXCL_UNLINK |
                           IN_ONLYDIR;

/// Kinds of file systems whose changes may be made elsewhere, unseen by this kernel.
bool is_network_file_system(int folder) {
  constexpr std::array<uint32_t, 9> kMagics{
      0x6969,      // nfs
      0xff534d42,  // cifs
      0xfe534d42,  // smb2
      0x517b,      // smb
      0x65735546,  // fuse
      0x01021997,  // 9p
      0x00c36400,  // ceph
      0x5346414f,  // afs
      0x6b414653,  // kafs
  };
  struct statfs info {};
  if (::fstatfs(folder, &info) < 0) return false;
  for (uint32_t magic : kMagics)
    if (static_cast<uint32_t>(info.f_type) == magic) return true;
  return false;
}

std::string join(const std::string& folder, std::string_view name) {
  std::string path = folder;
  if (!path.empty() && path.back() != '/') path += '/';
  path += name;
  return path;
}

bool is_below(std::string_view path, std::string_view folder) {
  return path.starts_with(folder) &&
         (path.size() == folder.size() || path[folder.size()] == '/' || folder.empty());
}

struct CloseListing {
  void operator()(DIR* listing) const { ::closedir(listing); }
};

/// Paths are relative to the watched folder, so that none of them begins so.
bool is_parked(std::string_view path) {
  return path.starts_with('/');
}

}  // namespace

Result<std::unique_ptr<Watch>> Watch::open(wire::WatchRequest options) {
  std::unique_ptr<Watch> watch(new Watch(std::move(options)));
  const std::string& path = watch->options_.path;
  struct stat info {};
  if (::stat(path.c_str(), &info) < 0) {
    if (errno == ENOENT || errno == ENOTDIR)
      return Error(ErrorCode::not_found, "path '" + path + "' does not exist");
    return Error::from_errno(errno, "path '" + path + "'");
  }
  if (!S_ISDIR(info.st_mode))
    return Error(ErrorCode::invalid_argument, "path '" + path + "' is not a directory");
  watch->inotify_ = Fd(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
  if (!watch->inotify_) {
    if (errno == EMFILE || errno == ENFILE)
      return Error(ErrorCode::resource_exhausted, "too many watches");
    return Error::from_errno(errno, "watch '" + path + "'");
  }
  HAKO_TRYV(watch->add_tree("", Found::known, nullptr));
  if (watch->root_ < 0) return Error(ErrorCode::not_found, "path '" + path + "' does not exist");
  return watch;
}

Result<Fd> Watch::open_folder(const std::string& path) const {
  constexpr int kFlags = O_RDONLY | O_DIRECTORY | O_NOCTTY;
  HAKO_TRY(auto root, open_file(options_.path, kFlags));
  if (path.empty()) return root;
  // Below the root no link is followed: the tree is what is watched, not what it points to.
  open_how how{};
  how.flags = kFlags | O_CLOEXEC;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS;
  Fd folder(static_cast<int>(::syscall(SYS_openat2, root.get(), path.c_str(), &how, sizeof how)));
  if (!folder) return Error::from_errno(errno, "open '" + path + "'");
  return folder;
}

uint64_t Watch::queued() const {
  int bytes = 0;
  if (::ioctl(inotify_.get(), FIONREAD, &bytes) < 0) return 0;
  return static_cast<uint64_t>(bytes);
}

Result<void> Watch::add_tree(std::string path, Found found, std::vector<WatchEvent>* events) {
  std::vector<std::string> waiting{std::move(path)};
  while (!waiting.empty()) {
    std::string at = std::move(waiting.back());
    waiting.pop_back();
    auto folder = open_folder(at);
    if (!folder) {
      // Below the root it has gone meanwhile, or may not be read: then there is nothing to see.
      if (!at.empty()) continue;
      return std::move(folder).error();
    }
    if (!options_.allow_network_mounts && is_network_file_system(folder.value().get())) {
      if (!at.empty()) continue;
      return Error(ErrorCode::invalid_argument,
                   "path '" + options_.path + "' is on a network file system");
    }
    // By descriptor: what was opened is what is watched.
    std::string name = "/proc/self/fd/" + std::to_string(folder.value().get());
    int watch = ::inotify_add_watch(inotify_.get(), name.c_str(), kMask);
    if (watch < 0) {
      if (errno == ENOSPC || errno == ENOMEM)
        return Error(ErrorCode::resource_exhausted, "too many folders are watched");
      if (!at.empty()) continue;
      return Error::from_errno(errno, "watch '" + options_.path + "'");
    }
    auto [place, is_new] = folders_.try_emplace(watch);
    place->second.path = at;
    if (at.empty()) root_ = watch;
    if (!is_new) continue;  // known already, with all that is in it
    if (folders_.size() > kMostFolders)
      return Error(ErrorCode::resource_exhausted, "more than " + std::to_string(kMostFolders) +
                                                      " folders would have to be watched");
    if (!options_.recursive) continue;
    HAKO_TRYV(scan(folder.value().release(), watch, found, events, waiting));
  }
  return ok();
}

Result<void> Watch::scan(int folder_fd, int watch, Found found, std::vector<WatchEvent>* events,
                         std::vector<std::string>& below) {
  std::unique_ptr<DIR, CloseListing> listing(::fdopendir(folder_fd));
  if (!listing) {
    ::close(folder_fd);
    return ok();
  }
  Folder& folder = folders_.at(watch);
  while (const dirent* entry = ::readdir(listing.get())) {
    std::string_view name = entry->d_name;
    if (name == "." || name == "..") continue;
    bool is_folder = entry->d_type == DT_DIR;
    if (found == Found::news || entry->d_type == DT_UNKNOWN) {
      struct stat info {};
      if (::fstatat(::dirfd(listing.get()), entry->d_name, &info, AT_SYMLINK_NOFOLLOW) < 0)
        continue;
      is_folder = S_ISDIR(info.st_mode);
      if (found == Found::news) {
        if (folder.told.size() >= kMostNews || events->size() >= kMostNews)
          return Error(ErrorCode::corrupted, "too many changes at once: events were lost");
        folder.told.emplace(name);
        std::string path = join(folder.path, name);
        tell(path, wire::EventType::create, *events);
        if (S_ISREG(info.st_mode) && info.st_size > 0)
          tell(std::move(path), wire::EventType::write, *events);
      }
    }
    if (is_folder) below.push_back(join(folder.path, name));
  }
  folder.told_until = read_ + queued();
  if (!folder.told.empty()) with_told_.push_back(watch);
  return ok();
}

void Watch::tell(std::string name, wire::EventType type, std::vector<WatchEvent>& events) const {
  WatchEvent event{std::move(name), type, std::nullopt};
  bool gone = type == wire::EventType::remove || type == wire::EventType::rename;
  if (options_.include_entry && !gone)
    if (auto entry = stat_entry(join(options_.path, event.name)))
      event.entry = std::move(entry.value());
  events.push_back(std::move(event));
}

Result<void> Watch::collect(std::vector<WatchEvent>& events) {
  alignas(inotify_event) char buffer[kReadBytes];
  ssize_t count = ::read(inotify_.get(), buffer, sizeof buffer);
  if (count < 0) {
    if (errno == EAGAIN || errno == EINTR) return ok();
    return Error::from_errno(errno, "read events");
  }
  read_ += static_cast<uint64_t>(count);
  for (ssize_t at = 0; at < count && !ended_;) {
    // SAFETY: the kernel writes whole events, padded so that the next one is aligned.
    const auto& event = *reinterpret_cast<const inotify_event*>(buffer + at);
    std::string_view name(event.len > 0 ? event.name : "");
    HAKO_TRYV(take(event, name, events));
    size_t size = sizeof event + event.len;
    at += static_cast<ssize_t>(size);
    taken_ += size;
  }
  // Both halves of a move are queued together: what has not turned up again has left the tree.
  if (!leaving_.empty() && queued() == 0) {
    for (const auto& [cookie, path] : leaving_) forget_folders(path);
    leaving_.clear();
  }
  forget_told();
  return ok();
}

void Watch::forget_told() {
  auto is_over = [this](int watch) {
    auto folder = folders_.find(watch);
    if (folder == folders_.end()) return true;
    if (folder->second.told_until > read_) return false;
    folder->second.told.clear();
    return true;
  };
  std::erase_if(with_told_, is_over);
}

Result<void> Watch::take(const inotify_event& event, std::string_view name,
                         std::vector<WatchEvent>& events) {
  if (event.mask & IN_Q_OVERFLOW)
    return Error(ErrorCode::corrupted, "too many changes at once: events were lost");
  auto found = folders_.find(event.wd);
  if (found == folders_.end()) return ok();
  if (event.mask & (IN_IGNORED | IN_DELETE_SELF | IN_MOVE_SELF | IN_UNMOUNT)) {
    if (event.wd == root_) ended_ = true;
    if (event.mask & IN_IGNORED) folders_.erase(found);
    return ok();
  }
  // Of a folder below, its parent's watch tells. One that has left the tree tells no more.
  if (name.empty() || is_parked(found->second.path)) return ok();

  Folder& folder = found->second;
  std::string path = join(folder.path, name);
  bool appears = event.mask & (IN_CREATE | IN_MOVED_TO);
  bool leaves = event.mask & (IN_DELETE | IN_MOVED_FROM);
  if (taken_ < folder.told_until) {
    auto told = folder.told.find(name);
    bool known = told != folder.told.end();
    if (known && (appears || leaves)) folder.told.erase(told);
    if (known && appears) return ok();
  }
  if (event.mask & IN_MOVED_FROM) {
    if (event.mask & IN_ISDIR && options_.recursive) {
      // Under a name of its own until it turns up again: another may take its old one meanwhile.
      std::string parked = "/" + std::to_string(event.cookie);
      rename_folders(path, parked);
      leaving_[event.cookie] = std::move(parked);
    }
    tell(std::move(path), wire::EventType::rename, events);
  } else if (event.mask & IN_DELETE) {
    tell(std::move(path), wire::EventType::remove, events);
  } else if (appears) {
    tell(path, wire::EventType::create, events);
    if (event.mask & IN_ISDIR && options_.recursive) return folder_appeared(event, path, events);
  } else if (event.mask & IN_MODIFY) {
    tell(std::move(path), wire::EventType::write, events);
  } else if (event.mask & IN_ATTRIB) {
    tell(std::move(path), wire::EventType::chmod, events);
  }
  return ok();
}

Result<void> Watch::folder_appeared(const inotify_event& event, const std::string& path,
                                    std::vector<WatchEvent>& events) {
  if (event.mask & IN_MOVED_TO) {
    auto left = leaving_.find(event.cookie);
    if (left != leaving_.end()) {
      rename_folders(left->second, path);
      leaving_.erase(left);
      return ok();
    }
  }
  return add_tree(path, Found::news, &events);
}

void Watch::rename_folders(const std::string& from, const std::string& to) {
  for (auto& [watch, folder] : folders_)
    if (is_below(folder.path, from)) folder.path = to + folder.path.substr(from.size());
}

void Watch::forget_folders(const std::string& path) {
  for (auto at = folders_.begin(); at != folders_.end();) {
    if (is_below(at->second.path, path) && at->first != root_) {
      ::inotify_rm_watch(inotify_.get(), at->first);
      at = folders_.erase(at);
    } else {
      ++at;
    }
  }
}

}  // namespace hako::guest
