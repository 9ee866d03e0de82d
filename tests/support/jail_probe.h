// What jail_probe can try. An attempt returns 0 where it got through, else an errno value.
#pragma once

#include <cerrno>
#include <span>
#include <string>

namespace hako::jail_probe {

struct Attempt {
  const char* name;
  /// `value`: what the test prepared for it.
  int (*run)(const std::string& value);
};

std::span<const Attempt> file_attempts();
std::span<const Attempt> process_attempts();
std::span<const Attempt> socket_attempts();
std::span<const Attempt> kernel_attempts();

inline int result_of(long call) {
  return call < 0 ? errno : 0;
}

/// For calls that ask for a right before they look at their arguments, and are made with arguments
/// that can do no harm: `harmless` says that the right was there.
inline int allowed_if(long call, int harmless) {
  return call < 0 && errno != harmless ? errno : 0;
}

}  // namespace hako::jail_probe
