#include "cli/tree_source.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>

#include "cli/extraction.h"
#include "cli/text.h"

namespace hako::cli {

TreeSource::TreeSource(Fd directory) {
  if (auto entered = enter("", std::move(directory)); !entered) failure_ = entered.error();
}

Result<void> TreeSource::enter(std::string path, Fd directory) {
  HAKO_TRY(auto listed, open_beneath(directory.get(), ".", O_RDONLY | O_DIRECTORY));
  DIR* stream = ::fdopendir(listed.get());
  if (!stream) return Error::from_errno(errno, "list " + printable_field(path));
  listed.release();
  Level level;
  level.path = std::move(path);
  level.directory = std::move(directory);
  while (dirent* entry = ::readdir(stream)) {
    std::string_view name = entry->d_name;
    if (name != "." && name != "..") level.names.emplace_back(name);
  }
  ::closedir(stream);
  std::sort(level.names.rbegin(), level.names.rend());
  levels_.push_back(std::move(level));
  return ok();
}

Result<void> TreeSource::next_entry() {
  while (!levels_.empty() && levels_.back().names.empty()) levels_.pop_back();
  if (levels_.empty()) {
    pending_ += tar_trailer();
    trailer_sent_ = true;
    return ok();
  }
  Level& level = levels_.back();
  std::string name = std::move(level.names.back());
  level.names.pop_back();
  std::string shown = printable_field(level.path + name);
  struct stat status {};
  if (::fstatat(level.directory.get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) < 0) {
    if (errno == ENOENT) return ok();  // removed since it was listed
    return Error::from_errno(errno, "read " + shown);
  }
  TarEntry entry;
  entry.name = level.path + name;
  entry.mode = status.st_mode & 0777;
  entry.mtime = status.st_mtime;
  if (S_ISLNK(status.st_mode)) {
    char target[PATH_MAX];
    ssize_t n = ::readlinkat(level.directory.get(), name.c_str(), target, sizeof target);
    if (n < 0) return Error::from_errno(errno, "read link " + shown);
    entry.kind = TarEntry::Kind::symlink;
    entry.link.assign(target, static_cast<size_t>(n));
    pending_ += tar_header(entry);
  } else if (S_ISDIR(status.st_mode)) {
    entry.kind = TarEntry::Kind::directory;
    entry.name += '/';
    HAKO_TRY(auto directory,
             open_beneath(level.directory.get(), name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
    pending_ += tar_header(entry);
    std::string path = entry.name;
    return enter(std::move(path), std::move(directory));
  } else if (S_ISREG(status.st_mode)) {
    HAKO_TRY(file_, open_beneath(level.directory.get(), name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK));
    if (::fstat(file_.get(), &status) < 0) return Error::from_errno(errno, "read " + shown);
    entry.size = static_cast<uint64_t>(status.st_size);
    file_left_ = file_size_ = entry.size;
    file_name_ = shown;
    pending_ += tar_header(entry);
    ++files_;
  } else if (skipped_.size() < 100) {
    skipped_.push_back(shown + ": left out, neither file nor directory nor link");
  }
  return ok();
}

Result<size_t> TreeSource::read_here(char* into, size_t size) {
  size_t filled = 0;
  while (filled < size) {
    if (pending_done_ < pending_.size()) {
      size_t take = std::min(size - filled, pending_.size() - pending_done_);
      std::memcpy(into + filled, pending_.data() + pending_done_, take);
      pending_done_ += take;
      filled += take;
      continue;
    }
    pending_.clear();
    pending_done_ = 0;
    if (file_left_ > 0) {
      size_t want = static_cast<size_t>(std::min<uint64_t>(size - filled, file_left_));
      ssize_t n = ::read(file_.get(), into + filled, want);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return Error::from_errno(errno, "read " + file_name_);
      if (n == 0)
        return Error(ErrorCode::failed_precondition,
                     file_name_ + " became shorter while it was read");
      file_left_ -= static_cast<uint64_t>(n);
      bytes_ += static_cast<uint64_t>(n);
      filled += static_cast<size_t>(n);
    } else if (file_) {
      file_.reset();
      pending_ = tar_padding(file_size_);
    } else if (trailer_sent_) {
      break;
    } else {
      HAKO_TRYV(next_entry());
    }
  }
  return filled;
}

Task<Result<size_t>> TreeSource::read_some(asio::mutable_buffer into) {
  if (failure_) co_return size_t{0};
  auto got = read_here(static_cast<char*>(into.data()), into.size());
  if (!got) {
    failure_ = got.error();
    co_return size_t{0};
  }
  co_return got.value();
}

}  // namespace hako::cli
