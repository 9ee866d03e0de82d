// What a permission leaves, layer by layer, in words for people. Pure.
#pragma once

#include <string>
#include <vector>

#include "policy/permission.h"

namespace hako::policy {

struct LayerExplanation {
  std::string layer;  ///< its name; "together" for the last one
  std::string text;   ///< one line: "only files.read; data up to internal", or "everything"
  bool operator==(const LayerExplanation&) const = default;
};

/// One entry for each layer, from the widest to the narrowest, and behind them what all of them
/// leave together. A layer that has expired, or contradicts those before it, leaves "nothing: ...".
std::vector<LayerExplanation> explanation(const Permission& permission, int64_t now_ms);

}  // namespace hako::policy
