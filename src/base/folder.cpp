#include "base/folder.h"

namespace hako {

std::vector<std::filesystem::directory_entry> entries_of(const std::filesystem::path& folder,
                                                         std::error_code& error) {
  std::vector<std::filesystem::directory_entry> entries;
  std::filesystem::directory_iterator entry(folder, error), end;
  for (; !error && entry != end; entry.increment(error)) entries.push_back(*entry);
  return entries;
}

Result<std::set<std::string>> names_in(const std::string& folder) {
  std::set<std::string> names;
  std::error_code error;
  for (const auto& entry : entries_of(folder, error)) names.insert(entry.path().filename());
  if (error && error != std::errc::no_such_file_or_directory)
    return Error::from_errno(error.value(), "list " + folder);
  return names;
}

}  // namespace hako
