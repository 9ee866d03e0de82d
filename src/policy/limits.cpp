#include "policy/limits.h"

namespace hako::policy {
namespace {

Decision too_long(std::chrono::seconds ttl, const BoxLimits& limits) {
  return Decision::deny("limits.ttl",
                        "a life of " + std::to_string(ttl.count()) + " s is over the limit of " +
                            std::to_string(limits.max_ttl.count()) + " s",
                        "ask for less, or have the operator raise [limits] ttl_seconds");
}

}  // namespace

Decision may_create(const BoxRequest& request, const BoxLimits& limits) {
  if (request.memory_mib) {
    std::string asked = std::to_string(*request.memory_mib) + " MiB of memory";
    if (*request.memory_mib < kLeastMemoryMib) {
      return Decision::deny("limits.memory", asked + " is too little for a machine to boot",
                            "ask for at least " + std::to_string(kLeastMemoryMib) + " MiB");
    }
    if (*request.memory_mib > limits.max_memory_mib) {
      return Decision::deny(
          "limits.memory",
          asked + " is over the limit of " + std::to_string(limits.max_memory_mib) + " MiB",
          "ask for less, or have the operator raise [limits] memory_mib");
    }
  }
  if (request.vcpus) {
    std::string asked = std::to_string(*request.vcpus) + " virtual CPUs";
    if (*request.vcpus < 1) {
      return Decision::deny("limits.vcpus", asked + " cannot run anything", "ask for at least 1");
    }
    if (*request.vcpus > limits.max_vcpus) {
      return Decision::deny("limits.vcpus",
                            asked + " are over the limit of " + std::to_string(limits.max_vcpus),
                            "ask for fewer, or have the operator raise [limits] vcpus");
    }
  }
  if (request.ttl <= std::chrono::seconds(0)) {
    return Decision::deny(
        "limits.ttl",
        "a life of " + std::to_string(request.ttl.count()) + " s would end before it begins",
        "ask for at least 1 s");
  }
  if (request.ttl > limits.max_ttl) return too_long(request.ttl, limits);
  return Decision::allow("limits", "within the operator's limits");
}

Decision may_live(std::chrono::seconds ttl, const BoxLimits& limits) {
  if (ttl > limits.max_ttl) return too_long(ttl, limits);
  return Decision::allow("limits", "within the operator's limits");
}

}  // namespace hako::policy
