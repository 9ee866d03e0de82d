// While the node runs: what it did not make, or has forgotten, goes.
#pragma once

#include <set>
#include <string>

#include "node/context.h"
#include "node/traces.h"

namespace hako::node {

/// Compares what can be seen of machines with what the node knows, now and then. What it sees twice
/// in a row without an owner it removes: once is not enough, as machines are being made and
/// destroyed while it looks. Processes under a VMM's uid, machines' folders, control sockets and
/// control groups, namespaces, and files of makings that nobody has gone on with for kAbandoned.
/// Thread: the node's executor; what blocks runs on the context's threads.
class StrayWatch {
 public:
  static constexpr auto kLookEvery = std::chrono::seconds(5);
  /// Longer than any making of a snapshot or a template takes.
  static constexpr auto kAbandoned = std::chrono::hours(6);

  explicit StrayWatch(Context& context) : context_(context) {}

  /// Until cancelled.
  Task<void> run();

 private:
  Task<void> look();
  Task<void> sweep_shares_of_nobody();
  std::set<int> slots_of_machines() const;
  Traces without_owner(Traces traces) const;
  Task<void> remove(Traces strays);

  Context& context_;
  Traces suspects_;  ///< without an owner when it last looked
};

}  // namespace hako::node
