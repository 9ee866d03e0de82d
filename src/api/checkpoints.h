// What the node calls the states of sandboxes that it keeps, and what becomes of a sandbox at its
// end. Pure.
#pragma once

#include <boost/json.hpp>

#include <optional>
#include <string>
#include <string_view>

#include "api/sandbox_options.h"
#include "store/store.h"

namespace hako::api {

/// That of a sandbox which is paused for the n-th time: "p-<sandbox>-<n>". A new pause has a new one,
/// so that the old state is there until the new one is.
std::string pause_checkpoint(const std::string& sandbox, int pauses);

struct PauseName {
  std::string sandbox;
  int pauses = 0;
  bool operator==(const PauseName&) const = default;
};
/// The inverse; nothing for other names.
std::optional<PauseName> parse_pause_checkpoint(std::string_view name);

/// A new snapshot's, which is also its id: "s-" and 20 characters.
std::string new_snapshot_id();
bool is_snapshot_id(std::string_view text);

/// The node's `on_end`: {then, memory, checkpoint}; nothing for a sandbox that just ends.
/// `pauses`: how often it has been paused before.
std::optional<boost::json::object> on_end_json(const std::string& sandbox, int pauses,
                                               const SandboxOptions& options);

/// Whether traffic may bring it back: it was to be, and its memory is kept.
bool wakes_on_traffic(const store::SandboxRecord& record);

}  // namespace hako::api
