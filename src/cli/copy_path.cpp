#include "cli/copy_path.h"

#include "cli/box.h"
#include "cli/text.h"

namespace hako::cli {

Result<CopyPath> parse_copy_path(std::string_view text) {
  auto refuse = [&](std::string_view why) {
    return Error(
        ErrorCode::invalid_argument,
        "'" + printable_field(text) + "' is no place to copy from or to: " + std::string(why));
  };
  if (text.empty()) return refuse("it is empty");
  if (text.find('\0') != std::string_view::npos) return refuse("it holds a zero byte");
  size_t colon = text.find(':');
  size_t slash = text.find('/');
  if (colon == std::string_view::npos || slash < colon) return CopyPath{"", std::string(text)};
  std::string_view id = text.substr(0, colon);
  std::string_view path = text.substr(colon + 1);
  if (!is_box_id(id))
    return refuse(
        "what stands before the colon is no id of a box; write ./ before the name of "
        "a file here that holds a colon");
  if (path.empty()) return refuse("no path stands behind the colon");
  return CopyPath{std::string(id), std::string(path)};
}

std::string last_component(std::string_view path) {
  while (path.size() > 1 && path.ends_with('/')) path.remove_suffix(1);
  size_t slash = path.rfind('/');
  std::string_view last = slash == std::string_view::npos ? path : path.substr(slash + 1);
  if (last == "." || last == "..") return {};
  return std::string(last);
}

std::string join_path(std::string_view directory, std::string_view name) {
  std::string joined(directory);
  if (joined.empty() || joined.back() != '/') joined += '/';
  return joined.append(name);
}

}  // namespace hako::cli
