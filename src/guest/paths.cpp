#include "guest/paths.h"

#include <climits>
#include <vector>

namespace hako::guest {

Result<std::string> resolve_path(std::string_view path, std::string_view home,
                                 std::string_view workdir) {
  if (path.find('\0') != std::string_view::npos)
    return Error(ErrorCode::invalid_argument, "a path holds a NUL byte");
  if (path.size() >= PATH_MAX) return Error(ErrorCode::invalid_argument, "a path is too long");
  if (path.empty()) return std::string(workdir.empty() ? home : workdir);
  if (path.front() == '/') return std::string(path);
  if (path.front() == '~') {
    path.remove_prefix(1);
    if (!path.empty() && path.front() != '/')
      return Error(ErrorCode::invalid_argument, "cannot expand the home of another user");
  }
  std::string joined(home);
  joined += '/';
  joined += path;
  return clean_path(joined);
}

std::string clean_path(std::string_view path) {
  bool absolute = !path.empty() && path.front() == '/';
  std::vector<std::string_view> kept;
  while (!path.empty()) {
    size_t slash = path.find('/');
    std::string_view part = path.substr(0, slash);
    path.remove_prefix(slash == std::string_view::npos ? path.size() : slash + 1);
    if (part.empty() || part == ".") continue;
    if (part == ".." && !kept.empty() && kept.back() != "..") {
      kept.pop_back();
    } else if (part != ".." || !absolute) {
      kept.push_back(part);
    }
  }
  std::string clean(absolute ? "/" : "");
  for (size_t i = 0; i < kept.size(); ++i) {
    if (i > 0) clean += '/';
    clean += kept[i];
  }
  return clean.empty() ? "." : clean;
}

std::string_view base_name(std::string_view path) {
  while (path.size() > 1 && path.back() == '/') path.remove_suffix(1);
  size_t slash = path.rfind('/');
  if (slash == std::string_view::npos || path.size() == 1) return path;
  return path.substr(slash + 1);
}

std::string_view directory_name(std::string_view path) {
  while (path.size() > 1 && path.back() == '/') path.remove_suffix(1);
  size_t slash = path.rfind('/');
  if (slash == std::string_view::npos) return ".";
  if (slash == 0) return "/";
  return path.substr(0, slash);
}

}  // namespace hako::guest
