// "Did you mean ...?"
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace hako::config {

/// How many single-character insertions, deletions, replacements or swaps of neighbours turn `a`
/// into `b` (optimal string alignment). Time and space: product of the lengths.
size_t edit_distance(std::string_view a, std::string_view b);

/// The candidate nearest to `word`, if it is near enough that a slip explains the difference:
/// at most a third of the word's length, and at least one.
std::optional<std::string> nearest(std::string_view word,
                                   const std::vector<std::string>& candidates);

}  // namespace hako::config
