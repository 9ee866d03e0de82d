// Whether /dev/kvm can really run an ordinary kernel: found out by running guest code.
#pragma once

#include <chrono>
#include <string>

namespace hako::engine {

struct KvmProbe {
  bool usable = false;
  /// In plain words: why not, or what was seen ("exit 17 at lock cmpxchg16b", "permission denied").
  std::string reason;
  /// Mean cost of a port exit in microseconds; above 20 suggests nested virtualisation. 0: unknown.
  double exit_microseconds = 0;
};

enum class ProbeDepth {
  instructions,  ///< run guest code: speaks for ordinary kernels
  creation,      ///< only make a machine and a virtual CPU
};

/// Runs a small guest in a forked child that is killed after `limit`. Blocking; a few ms when
/// healthy. `device`: usually /dev/kvm.
KvmProbe probe_kvm(const std::string& device = "/dev/kvm",
                   std::chrono::milliseconds limit = std::chrono::milliseconds(500),
                   ProbeDepth depth = ProbeDepth::instructions);

}  // namespace hako::engine
