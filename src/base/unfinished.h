// Files whose writer was killed.
#pragma once

#include <string>

namespace hako {

/// Removes what write_file_atomically(path) leaves beside `path` when it is killed half-way. Only
/// for who is alone in writing it. Blocking; what cannot be removed stays.
void remove_unfinished(const std::string& path);

}  // namespace hako
