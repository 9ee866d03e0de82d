// Texts of protocols that mean the same in upper and lower case.
#pragma once

#include <algorithm>
#include <string_view>

namespace hako::wire {

/// Whether they differ at most in the case of ASCII letters. Instead of boost::beast::iequals(), which up
/// to Boost 1.81 at least reads a byte behind the end of texts that do so.
inline bool equal_ignoring_case(std::string_view a, std::string_view b) {
  auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c; };
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [&](char x, char y) { return lower(x) == lower(y); });
}

}  // namespace hako::wire
