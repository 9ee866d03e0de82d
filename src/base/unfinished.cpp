#include "base/unfinished.h"

#include <filesystem>
#include <vector>

namespace hako {

void remove_unfinished(const std::string& path) {
  namespace fs = std::filesystem;
  std::string begin = fs::path(path).filename().string() + ".tmp-";
  std::vector<fs::path> left;
  std::error_code error;
  fs::directory_iterator entry(fs::path(path).parent_path(), error);
  for (; !error && entry != fs::directory_iterator(); entry.increment(error))
    if (entry->path().filename().string().starts_with(begin)) left.push_back(entry->path());
  for (const fs::path& each : left) fs::remove(each, error);
}

}  // namespace hako
