// What a request may ask for, against what the operator allows.
#pragma once

#include <chrono>
#include <optional>

#include "policy/decision.h"

namespace hako::policy {

/// The operator's limits on one box.
struct BoxLimits {
  int max_memory_mib = 0;
  int max_vcpus = 0;
  std::chrono::seconds max_ttl{0};
};

/// What a request asks for; nothing means the template's own value.
struct BoxRequest {
  std::optional<int64_t> memory_mib;
  std::optional<int64_t> vcpus;
  std::chrono::seconds ttl{0};  ///< from now
};

/// The smallest memory a guest of ours boots in, MiB.
inline constexpr int kLeastMemoryMib = 64;

/// Size and life of a new box. Rules, in this order: limits.memory, limits.vcpus, limits.ttl.
Decision may_create(const BoxRequest& request, const BoxLimits& limits);

/// A new span of life for an existing box: zero ends it, which is always allowed.
Decision may_live(std::chrono::seconds ttl, const BoxLimits& limits);

}  // namespace hako::policy
