// What a path in a request stands for.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace hako::guest {

/// Absolute paths as they are; relative ones and those with ~ from `home`; empty is `workdir`, or
/// `home` where there is none. invalid_argument: another user's home (~name), NUL bytes, a path
/// longer than the system takes.
Result<std::string> resolve_path(std::string_view path, std::string_view home,
                                 std::string_view workdir);

/// Without repeated slashes, "." and "..", by text alone; "" becomes ".".
std::string clean_path(std::string_view path);
/// What stands behind the last slash, trailing slashes aside; "/" for the root.
std::string_view base_name(std::string_view path);
/// What stands before it; "/" or "." where nothing does.
std::string_view directory_name(std::string_view path);

}  // namespace hako::guest
