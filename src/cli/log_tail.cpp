#include "cli/log_tail.h"

#include <algorithm>

namespace hako::cli {

size_t first_new_line(const std::vector<std::string>& before, const std::vector<std::string>& now) {
  for (size_t overlap = std::min(before.size(), now.size()); overlap > 0; --overlap)
    if (std::equal(now.begin(), now.begin() + static_cast<ptrdiff_t>(overlap),
                   before.end() - static_cast<ptrdiff_t>(overlap)))
      return overlap;
  return 0;
}

}  // namespace hako::cli
