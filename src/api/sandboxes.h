// Sandboxes from the user's side: records in the store, boxes at the node, and the two kept in
// step.
#pragma once

#include <boost/json.hpp>

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "api/box_secrets.h"
#include "api/ended_boxes.h"
#include "api/journal.h"
#include "api/node_link.h"
#include "api/principal.h"
#include "api/requests.h"
#include "api/tenant_limits.h"
#include "api/user_error.h"
#include "base/async/turn_queue.h"
#include "config/config.h"
#include "store/async_store.h"

namespace hako::api {

/// How a paused sandbox is to go on.
struct ResumeRequest {
  std::chrono::seconds ttl{0};
  /// false: without the memory that was kept. unsupported where some was.
  std::optional<bool> with_memory;
};

/// Of a fork: each child is a sandbox, or the reason why it could not be made.
using Children = std::vector<Result<store::SandboxRecord>>;

/// Errors of all calls are fit for the user: not_found; invalid_argument with the rule that said
/// no; failed_precondition for a sandbox that is not in the state for it; unavailable while the node
/// is away; resource_exhausted; timed_out; no_space; corrupted where what was kept is damaged;
/// internal without details, which are logged. A sandbox whose end has passed does not exist,
/// whatever the node has got to, unless it is paused then; nor does, for who asks, one that their
/// permission does not let them see. Thread: one executor. Calls may overlap.
class Sandboxes {
 public:
  struct Events {
    std::function<void(const store::SandboxRecord& record)> made;
    /// Something became of it that is no end: "paused", "resumed", "forked", "rolled_back".
    std::function<void(const store::SandboxRecord& record, const std::string& what)> changed;
    /// What goes out of it, or who gets in, may not be what its record says.
    std::function<Task<void>(std::string id)> doubtful;
    /// A sandbox is no more, and why, as the node says it; perhaps told twice.
    std::function<void(const std::string& id)> ended;
    /// The same, once for each; with more about why where the node had more to say.
    std::function<void(const std::string& id, const std::string& reason,
                       const std::string& detail)>
        gone;
  };
  Sandboxes(const config::Config& config, store::AsyncStore& store, NodeLink& node,
            TenantLimits& limits, BoxSecrets& secrets, Events events)
      : config_(config),
        store_(store),
        node_(node),
        limits_(limits),
        secrets_(secrets),
        events_(std::move(events)) {}

  /// The record is written first, as starting, and becomes running when the node has answered, so
  /// that after a crash at any point reconcile() finds what has no owner. A failed create leaves
  /// neither record nor box. permission_denied, with the rule, if it asks for more to go out than
  /// its label, the operator or the permission allows, or is one that `who` may not make.
  /// resource_exhausted, with the rule and when to try again, if it does not fit into the tenant's
  /// quota, or too many wait. While it waits for its turn at the node, request.client_gone ends it.
  Task<Result<store::SandboxRecord>> create(CreateRequest request, Principal who);
  /// In whatever state but starting. not_found says why it ended if its machine has ended by itself
  /// lately.
  Task<Result<store::SandboxRecord>> find(std::string id, Principal who);
  /// failed_precondition for one that does not run.
  Task<Result<store::SandboxRecord>> find_running(std::string id, Principal who);
  Task<Result<void>> destroy(std::string id, Principal who);
  /// From now; zero ends it.
  Task<Result<void>> set_timeout(std::string id, Principal who, std::chrono::seconds ttl);
  /// As set_timeout(), but never to an earlier end.
  Task<Result<store::SandboxRecord>> extend(std::string id, Principal who,
                                            std::chrono::seconds ttl);

  // sandboxes_pause.cpp

  /// Saves its state and ends its machine. The record says first that it is being done, and that it
  /// is paused when the node has the state on disk; where that fails it runs on. What a crash comes
  /// in between of, reconcile() finds and settles.
  Task<Result<void>> pause(std::string id, Principal who, bool with_memory);
  /// Goes on with a paused one, for as long as `ttl` and the caller's permission leave it. It needs
  /// room in its tenant's quota again. Who asks while another resumes it gets what that comes to.
  Task<Result<store::SandboxRecord>> resume(std::string id, Principal who, ResumeRequest request);
  /// The same because of traffic that may come in, for one that was made so: for as long as it was
  /// first made for, and at least five minutes. ok for one that runs.
  Task<Result<void>> wake(std::string id);
  /// Of a running or pausing one the node knows no machine: it is paused if its state is kept, else
  /// forgotten with `reason`. Whether there is one of that id; also yes where nobody can say.
  Task<bool> is_kept(std::string id, std::string reason);

  // sandboxes_fork.cpp

  /// Makes `count` sandboxes that go on from where this one is, which runs on. Each is admitted as a
  /// create is; those that are not have their error in their place. They have its label, what was
  /// asked of it, and what its maker and `who` leave of what goes out, and tokens of their own.
  Task<Result<Children>> fork(std::string id, Principal who, ForkRequest request);
  /// Takes a running one back to an earlier state of its own, which the caller has looked up. Its
  /// connections are cut; its tokens, its label and its end stay.
  Task<Result<store::SandboxRecord>> rollback(std::string id, Principal who,
                                              std::string checkpoint);

  /// The last of what the guest wrote to its console; hostile text. Empty for one that is paused.
  Task<Result<std::string>> console(std::string id, Principal who);
  /// What was done with those that run.
  const Journal& journal() const { return journal_; }
  void note(const std::string& id, std::string text);

  /// Compares records and boxes, and removes what has no counterpart. Errors are logged.
  Task<void> reconcile();
  /// The node says that a box has ended. With the reason "paused", `detail` is the checkpoint.
  Task<void> box_gone(std::string id, std::string reason, std::string detail);

 private:
  /// A record that a running call looks after, for as long as it exists.
  class Busy {
   public:
    Busy(std::multiset<std::string>& ids, std::string id) : ids_(ids), at_(ids.insert(std::move(id))) {}
    Busy(const Busy&) = delete;
    Busy& operator=(const Busy&) = delete;
    ~Busy() { ids_.erase(at_); }

   private:
    std::multiset<std::string>& ids_;
    std::multiset<std::string>::iterator at_;
  };
  /// A resume that is under way, and that others wait for.
  struct Resuming {
    std::optional<Result<store::SandboxRecord>> outcome;
    Condition ended;
  };

  /// Removes the record.
  Task<void> forget(std::string id, std::string reason, std::string detail = {});
  Task<Result<store::SandboxRecord>> start(store::SandboxRecord record, CreateRequest request,
                                             Principal who);
  /// Whether the key that has made it is still as it was then.
  Task<Result<bool>> maker_stands(store::SandboxRecord record);
  /// Of one that is made now.
  Task<Result<void>> hold_to_traffic_quota(const Principal& who, policy::EgressPolicy& policy);
  Task<Result<TenantLimits::Turn>> wait_for_turn(std::string tenant,
                                                 std::function<Task<void>()> client_gone);
  Task<void> abandon(const store::SandboxRecord& record, bool node_may_have_it);
  Task<Result<void>> move_end(store::SandboxRecord record, int64_t ends_ms);

  Task<Result<void>> pause_at_node(store::SandboxRecord record, bool with_memory);
  Task<Result<void>> become_paused(std::string id, store::Paused paused);
  /// A pause or resume whose outcome nobody knows: by what the node has now.
  Task<void> settle_now(std::string id);
  Task<Result<store::SandboxRecord>> go_on(store::SandboxRecord record, int64_t ends_ms);
  Task<Result<store::SandboxRecord>> go_on_alone(std::string id, std::string tenant,
                                                 int64_t ends_ms);
  Task<Result<store::SandboxRecord>> not_resumed(store::SandboxRecord record, Error error,
                                                 bool answered);
  Task<Result<store::SandboxRecord>> has_resumed(store::SandboxRecord record,
                                                 store::Started started);
  Task<Result<void>> destroy_paused(store::SandboxRecord record);
  /// The one that it was last in, and the one that it would be in next.
  Task<void> remove_checkpoints(const store::SandboxRecord& record);
  /// `created_ms`: only the one that was made then.
  Task<void> remove_checkpoint(std::string checkpoint, std::string tenant,
                               std::optional<int64_t> created_ms = std::nullopt);

  Task<Result<store::SandboxRecord>> admit_child(store::SandboxRecord child, Principal who);
  Task<Result<store::SandboxRecord>> take_child(store::SandboxRecord child,
                                                Result<store::Started> started);

  using Kept = std::map<std::string, NodeCheckpoint>;
  Task<Result<std::optional<Kept>>> list_kept();
  Task<Result<void>> settle_record(const store::SandboxRecord& record, const NodeBox* box,
                                   const std::optional<Kept>& kept);
  Task<Result<void>> settle_pause(const store::SandboxRecord& record, const NodeBox* box,
                                  const Kept& kept);
  Task<Result<void>> settle_stray(const NodeBox& box);
  Task<Result<void>> settle_snapshots(const Kept& kept);
  Task<Result<void>> remove_orphans(const Kept& kept);
  Task<void> remove_orphan(const NodeCheckpoint& checkpoint);
  Task<Result<void>> reconcile_once();
  Task<Result<void>> destroy_box(std::string id, std::string tenant, std::string reason);
  void clear_traces(const std::string& id);
  Error not_found(const std::string& id, const Principal& who) const;

  const config::Config& config_;
  store::AsyncStore& store_;
  NodeLink& node_;
  TenantLimits& limits_;
  BoxSecrets& secrets_;
  Events events_;
  Journal journal_;
  EndedBoxes ended_;
  std::multiset<std::string> busy_;  ///< records that running calls look after
  std::map<std::string, std::shared_ptr<Resuming>> resuming_;
  std::set<std::string> died_resuming_;  ///< of those in resuming_
  std::set<std::string> abandoned_;  ///< boxes that the node may have, and nobody wants
};

/// What was kept, `what`, is not as it was written. `error`: the node's words, for the log.
Error damaged(const std::string& what, const Error& error);
/// What is asked of those who take things out of a sandbox.
std::string new_token();
/// Who may reach a sandbox's ports, and how, as the gate is told; empty if there is nothing to say.
boost::json::object ingress_json(const store::SandboxRecord& record, const SandboxOptions& options);

}  // namespace hako::api
