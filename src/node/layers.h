// Disks of template builds after each of their steps, kept for the next build that begins alike.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "node/template_builder.h"

namespace hako::node {

/// A bounded cache: the disk used longest ago goes first. What keys mean is the api's business.
/// Thread: the node's executor.
class Layers {
 public:
  static constexpr size_t kMostLayers = 64;
  static constexpr int64_t kMostBytes = int64_t(16) << 30;  ///< on disk, holes not counted

  explicit Layers(Context& context) : context_(context) {}

  /// The longest prefix of `keys` whose last disk is here: how many keys, and the disk's path.
  struct Found {
    size_t steps = 0;
    std::string disk;
  };
  std::optional<Found> find(const std::vector<std::string>& keys) const;
  /// Copies the machine's disk under `key`. Replaces what was there.
  Task<Result<void>> keep(Vm& vm, std::string key);

  /// 64 hex digits.
  static bool is_key(std::string_view text);

 private:
  void drop_oldest(const std::string& newest) const;

  Context& context_;
};

}  // namespace hako::node
