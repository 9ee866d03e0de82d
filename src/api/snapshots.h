// Snapshots as users know them: kept states of sandboxes, of which new ones can be made.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "api/principal.h"
#include "api/sandboxes.h"
#include "api/template_catalog.h"

namespace hako::api {

/// Which to list.
struct SnapshotQuery {
  std::string sandbox;  ///< taken of this one; empty: of any
  std::string name;     ///< of this name, whatever its tag, or "name:tag"; empty: any
};

/// A snapshot belongs to the tenant and the agent of its sandbox and has that one's label, so that it
/// can be used by whoever may read a template of theirs; whoever may see its sandbox may also see
/// it. What nobody lets the caller read does not exist for them. Errors of all calls are fit for the
/// user, as those of Sandboxes. Thread: one executor.
class Snapshots {
 public:
  Snapshots(const config::Config& config, store::AsyncStore& store, NodeLink& node,
            Sandboxes& sandboxes)
      : config_(config), store_(store), node_(node), sandboxes_(sandboxes) {}

  /// Keeps the state of a running sandbox, which runs on. `name`: "name:tag" or empty; a snapshot
  /// that has it loses it. The record is written first, as one that is being made.
  /// already_exists: a template, or a snapshot that `who` cannot change, has the name;
  /// resource_exhausted: it does not fit into the tenant's quota of disk.
  Task<Result<store::SnapshotRecord>> take(std::string sandbox, Principal who, std::string name);
  /// Newest first.
  Task<Result<std::vector<store::SnapshotRecord>>> list(SnapshotQuery query, Principal who);
  /// Of which `who` may make a sandbox: by its id, or if it has none of that form by its name, each
  /// with a tag or without.
  Task<Result<std::optional<store::SnapshotRecord>>> find_for_create(std::string reference,
                                                                     Principal who);
  /// The one of that id or name, if it was taken of this sandbox, which the caller has found. not_found.
  Task<Result<store::SnapshotRecord>> find_of(std::string reference,
                                              store::SandboxRecord sandbox);
  /// Whether there was one of that id or name. permission_denied for one that `who` may only read.
  Task<Result<bool>> remove(std::string reference, Principal who);

 private:
  Task<Result<std::optional<store::SnapshotRecord>>> look_up(std::string reference,
                                                             std::string tenant);
  Task<Result<store::SnapshotRecord>> finish(store::SnapshotRecord record, std::string name,
                                             int64_t bytes);
  Task<void> drop(const store::SnapshotRecord& record);

  const config::Config& config_;
  store::AsyncStore& store_;
  NodeLink& node_;
  Sandboxes& sandboxes_;
};

policy::TemplateFacts facts_of(const store::SnapshotRecord& record);
/// What a sandbox that is made of it is asked for, besides what the request says.
ResolvedTemplate resolved(const store::SnapshotRecord& record);

/// {snapshotID, names, sandboxID, label, createdAt, sizes}.
boost::json::object snapshot_json(const store::SnapshotRecord& record);

}  // namespace hako::api
