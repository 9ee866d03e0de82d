// System call filters: libseccomp's rules, put to one place.
#pragma once

#include <linux/filter.h>
#include <seccomp.h>

#include <initializer_list>
#include <memory>
#include <span>
#include <vector>

#include "base/result.h"

namespace hako::jail {

/// What no program of ours can want: whoever asks has taken over the process, so it ends, and the
/// attempt is in the kernel's log. Of unshare(2), which the api's pulls need, each filter decides.
std::span<const int> deadly_calls();

class Filter {
 public:
  /// `others`: what happens to calls without a rule. Calls of other architectures end the process.
  explicit Filter(uint32_t others);

  void rule(uint32_t action, int call, std::initializer_list<scmp_arg_cmp> when = {});
  void allow(std::span<const int> calls);
  void end_process(std::span<const int> calls);

  /// For all threads of this process, or none.
  Result<void> load();
  /// For a child to load between fork and exec.
  Result<std::vector<sock_filter>> program();

 private:
  void attribute(scmp_filter_attr which, uint32_t value);

  std::unique_ptr<void, void (*)(scmp_filter_ctx)> context_;
  int error_ = 0;
};

scmp_arg_cmp equals(unsigned argument, uint64_t value);
/// Of the bits in `mask`, just those in `value` are set.
scmp_arg_cmp has_bits(unsigned argument, uint64_t mask, uint64_t value);

/// Threads, but no processes: clone3 hides its flags in memory, so it does not exist, and glibc
/// falls back to clone.
void allow_only_threads(Filter& filter);

}  // namespace hako::jail
