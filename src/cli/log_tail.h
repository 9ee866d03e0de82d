// Following a log of which only the end can be had.
#pragma once

#include <string>
#include <vector>

namespace hako::cli {

/// Index of the first line of `now` that was not there when `before` was fetched, where both are
/// the last lines of one growing text: the longest overlap of before's end and now's beginning
/// counts as old. A last line that has only grown counts as new.
size_t first_new_line(const std::vector<std::string>& before, const std::vector<std::string>& now);

}  // namespace hako::cli
