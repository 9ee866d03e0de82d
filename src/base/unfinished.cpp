#include "base/unfinished.h"

#include "base/folder.h"

namespace hako {

void remove_unfinished(const std::string& path) {
  namespace fs = std::filesystem;
  std::string begin = fs::path(path).filename().string() + ".tmp-";
  std::error_code error;
  for (const auto& entry : entries_of(fs::path(path).parent_path(), error))
    if (entry.path().filename().string().starts_with(begin)) fs::remove(entry.path(), error);
}

}  // namespace hako
