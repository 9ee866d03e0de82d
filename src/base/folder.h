// What is in a folder.
#pragma once

#include <filesystem>
#include <set>
#include <string>
#include <system_error>
#include <vector>

#include "base/result.h"

namespace hako {

/// The entries of a folder, as far as they could be read; `error` says why not further. A loop over the
/// standard's iterator itself throws where reading fails behind the first.
std::vector<std::filesystem::directory_entry> entries_of(const std::filesystem::path& folder,
                                                         std::error_code& error);
/// The names of all of them; none where there is no such folder. Errors: that of the first that could
/// not be read.
Result<std::set<std::string>> names_in(const std::string& folder);

}  // namespace hako
