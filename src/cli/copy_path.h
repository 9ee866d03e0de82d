// The two ends of `hako cp`.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace hako::cli {

/// A path on this machine (box empty) or in a box.
struct CopyPath {
  std::string box;
  std::string path;
};

/// "ID:PATH" is in a box; anything with a slash before its first colon is here ("./a:b").
/// Errors: invalid_argument.
Result<CopyPath> parse_copy_path(std::string_view text);

/// The last component: what a copy into a directory is called. Empty for "/", "." and "..".
std::string last_component(std::string_view path);

/// `directory` + "/" + `name`, with one slash between them.
std::string join_path(std::string_view directory, std::string_view name);

}  // namespace hako::cli
