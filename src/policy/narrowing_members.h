// The members of a Narrowing that have one shape each, by their names in caveats and in JSON.
#pragma once

#include <algorithm>
#include <array>

#include "policy/permission.h"

namespace hako::policy {

/// A whole number that may not be exceeded.
struct NumberMember {
  std::string_view caveat;
  std::string_view json;
  std::optional<int64_t> Narrowing::*value;
  int64_t least;  ///< of what may be written
};

/// A box without any bytes is "egress = none": 0 stands for no limit where bytes are counted.
inline constexpr std::array kNumberMembers = {
    NumberMember{"memory_mb", "memoryMB", &Narrowing::memory_mib, 0},
    NumberMember{"cpus", "cpuCount", &Narrowing::vcpus, 0},
    NumberMember{"ttl", "timeout", &Narrowing::ttl_s, 0},
    NumberMember{"boxes", "boxes", &Narrowing::boxes, 0},
    NumberMember{"egress_bytes", "egressBytes", &Narrowing::egress_bytes, 1},
    NumberMember{"model_requests", "modelRequests", &Narrowing::model_requests, 0},
    NumberMember{"model_tokens", "modelTokens", &Narrowing::model_tokens, 0},
    NumberMember{"model_microusd", "modelMicroUSD", &Narrowing::model_microusd, 0},
};

/// An id of a box, or an id or a name of a template ("base", "acme/base"), as far as its bytes go.
inline bool is_listed_word(std::string_view word) {
  return !word.empty() && word.size() <= 256 && std::all_of(word.begin(), word.end(), [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' ||
           c == '_' || c == '.' || c == '/' || c == ':';
  });
}

/// A list of ids or names.
struct ListMember {
  std::string_view caveat;
  std::string_view json;
  std::optional<std::set<std::string>> Narrowing::*value;
  bool (*is_word)(std::string_view);
};

inline constexpr std::array kListMembers = {
    ListMember{"sandbox", "sandboxes", &Narrowing::sandboxes, is_listed_word},
    ListMember{"template", "templates", &Narrowing::templates, is_listed_word},
    ListMember{"model", "models", &Narrowing::models, is_model_pattern},
};

}  // namespace hako::policy
