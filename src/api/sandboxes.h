// Sandboxes from the user's side: records in the store, boxes at the node, and the two kept in
// step.
#pragma once

#include <boost/json.hpp>

#include <chrono>
#include <functional>
#include <set>
#include <string>

#include "api/ended_boxes.h"
#include "api/journal.h"
#include "api/node_link.h"
#include "api/principal.h"
#include "api/requests.h"
#include "api/tenant_limits.h"
#include "api/user_error.h"
#include "config/config.h"
#include "store/async_store.h"

namespace hako::api {

/// Errors of all calls are fit for the user: not_found; invalid_argument with the rule that said
/// no; unavailable while the node is away; resource_exhausted; timed_out; no_space; internal
/// without details, which are logged. A sandbox whose end has passed does not exist, whatever the
/// node has got to; nor does, for who asks, one that their permission does not let them see.
/// Thread: one executor. Calls may overlap.
class Sandboxes {
 public:
  struct Events {
    std::function<void(const store::SandboxRecord& record)> made;
    /// A sandbox is no more, and why, as the node says it; perhaps told twice.
    std::function<void(const std::string& id)> ended;
    /// The same, once for each; with more about why where the node had more to say.
    std::function<void(const std::string& id, const std::string& reason,
                       const std::string& detail)>
        gone;
  };
  Sandboxes(const config::Config& config, store::AsyncStore& store, NodeLink& node,
            TenantLimits& limits, Events events)
      : config_(config), store_(store), node_(node), limits_(limits), events_(std::move(events)) {}

  /// The record is written first, as starting, and becomes running when the node has answered, so
  /// that after a crash at any point reconcile() finds what has no owner. A failed create leaves
  /// neither record nor box. permission_denied, with the rule, if it asks for more to go out than
  /// its label, the operator or the permission allows, or is one that `who` may not make.
  /// resource_exhausted, with the rule and when to try again, if it does not fit into the tenant's
  /// quota, or too many wait. While it waits for its turn at the node, request.client_gone ends it.
  Task<Result<store::SandboxRecord>> create(CreateRequest request, Principal who);
  /// not_found says why it ended if its machine has ended by itself lately.
  Task<Result<store::SandboxRecord>> find(std::string id, Principal who);
  Task<Result<void>> destroy(std::string id, Principal who);
  /// From now; zero ends it.
  Task<Result<void>> set_timeout(std::string id, Principal who, std::chrono::seconds ttl);
  /// As set_timeout(), but never to an earlier end.
  Task<Result<store::SandboxRecord>> extend(std::string id, Principal who,
                                            std::chrono::seconds ttl);
  /// The last of what the guest wrote to its console; hostile text.
  Task<Result<std::string>> console(std::string id, Principal who);
  /// What was done with those that run.
  const Journal& journal() const { return journal_; }
  void note(const std::string& id, std::string text);

  /// Compares records and boxes, and removes what has no counterpart. Errors are logged.
  Task<void> reconcile();
  /// The node says that a box has ended.
  Task<void> forget(std::string id, std::string reason, std::string detail = {});

 private:
  Task<Result<store::SandboxRecord>> start(store::SandboxRecord record, CreateRequest request,
                                             Principal who);
  /// Whether the key that has made it is still as it was then.
  Task<Result<bool>> maker_stands(store::SandboxRecord record);
  /// Of one that is made now.
  Task<Result<void>> hold_to_traffic_quota(const Principal& who, policy::EgressPolicy& policy);
  Task<Result<TenantLimits::Turn>> wait_for_turn(std::string tenant,
                                                 std::function<Task<void>()> client_gone);
  Task<void> abandon(const store::SandboxRecord& record, bool node_may_have_it);
  Task<Result<void>> move_end(std::string id, std::string tenant, int64_t ends_ms);
  Task<Result<void>> settle_record(const store::SandboxRecord& record, const NodeBox* box);
  Task<Result<void>> settle_stray(const NodeBox& box);
  Task<Result<void>> reconcile_once();
  Task<Result<void>> destroy_box(std::string id, std::string tenant, std::string reason);
  void clear_traces(const std::string& id);
  Error not_found(const std::string& id, const Principal& who) const;

  const config::Config& config_;
  store::AsyncStore& store_;
  NodeLink& node_;
  TenantLimits& limits_;
  Events events_;
  Journal journal_;
  EndedBoxes ended_;
  std::set<std::string> creating_;  ///< records that a running create() looks after
};

/// What is asked of those who take things out of a sandbox.
std::string new_token();
/// Who may reach a sandbox's ports, and how, as the gate is told; empty if there is nothing to say.
boost::json::object ingress_json(const store::SandboxRecord& record, const SandboxOptions& options);

}  // namespace hako::api
