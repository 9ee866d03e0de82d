#include "cli/extraction.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "cli/text.h"

namespace hako::cli {
namespace {

std::string join(const std::vector<std::string>& path, size_t count) {
  std::string text;
  for (size_t i = 0; i < count; ++i) text += (i ? "/" : "") + path[i];
  return text.empty() ? "." : text;
}

}  // namespace

Result<std::vector<std::string>> safe_components(std::string_view name) {
  auto refuse = [&](std::string_view why) {
    return Error(ErrorCode::invalid_argument, "the box sent the name '" +
                                                  printable_field(name.substr(0, 200)) + "', " +
                                                  std::string(why));
  };
  if (name.empty()) return refuse("which is empty");
  if (name.size() > 4096) return refuse("which is too long");
  if (name.front() == '/') return refuse("which is absolute");
  if (name.find('\0') != std::string_view::npos) return refuse("which holds a zero byte");
  std::vector<std::string> components;
  while (!name.empty()) {
    size_t slash = name.find('/');
    std::string_view component = name.substr(0, slash);
    name = slash == std::string_view::npos ? "" : name.substr(slash + 1);
    if (component.empty() || component == ".") continue;
    if (component == "..") return refuse("which leads upwards");
    if (component.size() > 255) return refuse("which is too long");
    components.emplace_back(component);
  }
  return components;
}

bool link_stays_inside(size_t depth, std::string_view target) {
  if (target.empty() || target.front() == '/' || target.size() > 4095) return false;
  size_t up = 0;
  bool descended = false;
  while (!target.empty()) {
    size_t slash = target.find('/');
    std::string_view component = target.substr(0, slash);
    target = slash == std::string_view::npos ? "" : target.substr(slash + 1);
    if (component.empty() || component == ".") continue;
    if (component == "..") {
      if (descended || ++up > depth) return false;
    } else {
      descended = true;
    }
  }
  return true;
}

Result<Fd> open_beneath(int directory, const std::string& path, int flags) {
  open_how how{};
  how.flags = static_cast<uint64_t>(flags) | O_CLOEXEC;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  long fd;
  do {
    fd = ::syscall(SYS_openat2, directory, path.c_str(), &how, sizeof how);
  } while (fd < 0 && (errno == EINTR || errno == EAGAIN));
  if (fd < 0) return Error::from_errno(errno, "open " + printable_field(path));
  return Fd(static_cast<int>(fd));
}

Extraction::Extraction(Fd directory, ExtractionLimits limits)
    : root_(std::move(directory)), limits_(limits) {
  mode_t mask = ::umask(0);
  ::umask(mask);
  mode_mask_ = ~mask & 0777;
}

void Extraction::skip(const std::string& name, std::string_view why) {
  if (skipped_.size() < 100) skipped_.push_back(printable_field(name) + ": " + std::string(why));
}

Result<Fd> Extraction::parent_of(const std::vector<std::string>& path) {
  std::string parent = join(path, path.size() - 1);
  auto opened = open_beneath(root_.get(), parent, O_PATH | O_DIRECTORY);
  if (opened || opened.error().os_error() != ENOENT) return opened;
  // An archive need not name a directory before what is in it.
  HAKO_TRY(auto at, open_beneath(root_.get(), ".", O_PATH | O_DIRECTORY));
  for (size_t i = 0; i + 1 < path.size(); ++i) {
    if (::mkdirat(at.get(), path[i].c_str(), 0777) < 0 && errno != EEXIST)
      return Error::from_errno(errno, "make directory " + printable_field(join(path, i + 1)));
    HAKO_TRY(at, open_beneath(at.get(), path[i], O_PATH | O_DIRECTORY));
  }
  return at;
}

Result<void> Extraction::entry(const TarEntry& entry) {
  if (++entries_ > limits_.entries)
    return Error(ErrorCode::too_large, "more than " + std::to_string(limits_.entries) + " files");
  HAKO_TRY(auto path, safe_components(entry.name));
  name_ = printable_field(join(path, path.size()));
  if (path.empty()) {
    if (entry.kind == TarEntry::Kind::directory) return ok();
    return Error(ErrorCode::invalid_argument, "the box sent a file without a name");
  }
  const char* leaf = path.back().c_str();

  if (entry.kind == TarEntry::Kind::directory) {
    HAKO_TRY(auto parent, parent_of(path));
    if (::mkdirat(parent.get(), leaf, 0700) < 0) {
      if (errno != EEXIST) return Error::from_errno(errno, "make directory " + name_);
      HAKO_TRY(auto existing, open_beneath(parent.get(), path.back(), O_PATH | O_DIRECTORY));
      return ok();
    }
    directories_.push_back({join(path, path.size()), entry.mode & mode_mask_});
    return ok();
  }
  if (entry.kind == TarEntry::Kind::hard_link) {
    skip(name_, "left out, a hard link");
    return ok();
  }
  if (entry.kind == TarEntry::Kind::other) {
    skip(name_, "left out, neither file nor directory nor link");
    return ok();
  }
  if (entry.kind == TarEntry::Kind::symlink && !link_stays_inside(path.size() - 1, entry.link)) {
    skip(name_, "left out, a link to " + printable_field(entry.link.substr(0, 200)));
    return ok();
  }
  HAKO_TRY(auto parent, parent_of(path));
  // Removed, not opened: what is there now may be a link, or have other names.
  if (::unlinkat(parent.get(), leaf, 0) < 0 && errno != ENOENT)
    return Error::from_errno(errno, "replace " + name_);
  if (entry.kind == TarEntry::Kind::symlink) {
    if (::symlinkat(entry.link.c_str(), parent.get(), leaf) < 0)
      return Error::from_errno(errno, "make link " + name_);
    return ok();
  }
  int fd = ::openat(parent.get(), leaf, O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (fd < 0) return Error::from_errno(errno, "create " + name_);
  file_ = Fd(fd);
  file_mode_ = entry.mode & mode_mask_;
  ++files_;
  return ok();
}

Result<void> Extraction::data(std::string_view bytes) {
  bytes_ += bytes.size();
  if (bytes_ > limits_.bytes)
    return Error(ErrorCode::too_large, "more than " + format_bytes(limits_.bytes));
  if (!file_) return ok();
  auto written = write_all(file_.get(), bytes);
  if (!written) return written.error().with_context("write " + name_);
  return ok();
}

Result<void> Extraction::end_of_entry() {
  if (!file_) return ok();
  if (::fchmod(file_.get(), file_mode_) < 0)
    return Error::from_errno(errno, "set the mode of " + name_);
  file_.reset();
  return ok();
}

Result<void> Extraction::finish() {
  // Innermost first: an outer directory may lose its search permission.
  for (auto at = directories_.rbegin(); at != directories_.rend(); ++at) {
    HAKO_TRY(auto directory, open_beneath(root_.get(), at->path, O_RDONLY | O_DIRECTORY));
    if (::fchmod(directory.get(), at->mode) < 0)
      return Error::from_errno(errno, "set the mode of " + printable_field(at->path));
  }
  directories_.clear();
  return ok();
}

}  // namespace hako::cli
