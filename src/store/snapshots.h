// What the API remembers of snapshots: kept states of sandboxes, of which others can be made.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace hako::store {

enum class SnapshotState {
  making,  ///< the node was (or is about to be) asked for it; nobody has been told of it yet
  ready,
};
std::string_view to_string(SnapshotState state);

/// One snapshot. Times are Unix milliseconds, sizes MiB unless the name says otherwise.
struct SnapshotRecord {
  std::string id;  ///< also the node's name of the checkpoint that it is
  SnapshotState state = SnapshotState::making;
  std::string name;     ///< "name:tag", of one ready snapshot of its tenant; empty for none
  std::string sandbox;  ///< of which it was taken; that may be no more
  std::string template_name;  ///< what that was made of, and a second name of it
  std::string alias;
  std::string tenant = "default";
  std::string agent;   ///< the path of the agent whose sandbox that was; empty: the whole tenant's
  std::string key_id;  ///< which key took it
  std::string label = "public";  ///< that of the sandbox when it was taken, or higher
  std::string options;  ///< JSON that only the API reads: what the sandbox was asked to be
  int vcpus = 0;
  int memory_mib = 0;
  int disk_mib = 0;
  int64_t bytes = 0;  ///< what it takes on the node's disk
  int64_t created_ms = 0;

  bool operator==(const SnapshotRecord&) const = default;
};

/// What is known when the node has made it.
struct SnapshotMade {
  std::string name;
  std::string label;
  int64_t bytes = 0;
};

/// The rules of Store (store.h) hold. Lists are newest first.
class SnapshotStore {
 public:
  virtual ~SnapshotStore() = default;

  /// already_exists; not_found for an unknown tenant.
  virtual Result<void> add_snapshot(const SnapshotRecord& record) = 0;
  /// Makes it ready. If another of its tenant has the name, that one loses it. not_found.
  virtual Result<void> set_snapshot_ready(const std::string& id, const SnapshotMade& made) = 0;
  virtual Result<std::optional<SnapshotRecord>> find_snapshot(const std::string& id) = 0;
  virtual Result<std::optional<SnapshotRecord>> find_snapshot_named(const std::string& tenant,
                                                                    const std::string& name) = 0;
  /// Of one tenant, or with "" of all; in whatever state.
  virtual Result<std::vector<SnapshotRecord>> all_snapshots(const std::string& tenant) = 0;
  /// Whether there was one.
  virtual Result<bool> remove_snapshot(const std::string& id) = 0;
};

}  // namespace hako::store
