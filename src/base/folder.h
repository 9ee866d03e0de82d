// What is in a folder.
#pragma once

#include <filesystem>
#include <system_error>
#include <vector>

namespace hako {

/// The entries of a folder, as far as they could be read; `error` says why not further. A loop over the
/// standard's iterator itself throws where reading fails behind the first.
std::vector<std::filesystem::directory_entry> entries_of(const std::filesystem::path& folder,
                                                         std::error_code& error);

}  // namespace hako
