// The characters of host names, as strangers send them.
#pragma once

#include <cstdint>

namespace hako::wire {

inline constexpr size_t kLongestHostName = 253;  ///< without a dot at its end
inline constexpr size_t kLongestLabel = 63;

/// `byte` in lower case, or 0 if it may not stand in a label of a host name. The underscore may:
/// names of services have it.
constexpr char host_character(uint8_t byte) {
  if (byte >= 'A' && byte <= 'Z') return static_cast<char>(byte - 'A' + 'a');
  bool plain =
      (byte >= 'a' && byte <= 'z') || (byte >= '0' && byte <= '9') || byte == '-' || byte == '_';
  return plain ? static_cast<char>(byte) : '\0';
}

}  // namespace hako::wire
