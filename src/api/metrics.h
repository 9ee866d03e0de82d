// How much of its machine each sandbox uses, as its own daemon says.
#pragma once

#include <deque>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "api/sample.h"
#include "base/async/task_group.h"
#include "base/async/turn_queue.h"
#include "config/config.h"
#include "store/async_store.h"

namespace hako::api {

/// Keeps the last samples of each sandbox, in memory only. Thread: one executor.
class Metrics {
 public:
  static constexpr size_t kMostSamples = 240;  ///< per sandbox; older ones are dropped
  static constexpr int kMostAtOnce = 8;        ///< guests being asked

  Metrics(asio::any_io_executor executor, const config::Config& config, store::AsyncStore& store);

  /// Looks at every running sandbox each interval, until cancelled. Nothing if that is zero.
  Task<void> run();
  /// Looks now at those of which the last sample is not fresh, and waits a few seconds at most: for
  /// a guest that does not answer there is no new sample.
  Task<void> refresh(std::vector<store::SandboxRecord> sandboxes);
  /// Those from `from_ms` to `to_ms`, both included, oldest first.
  std::vector<Sample> between(const std::string& id, int64_t from_ms, int64_t to_ms) const;
  std::optional<Sample> latest(const std::string& id) const;
  /// The sandbox has ended.
  void drop(const std::string& id) { series_.erase(id); }
  /// Ends what run() and refresh() have begun. Must be awaited before this goes.
  Task<void> stop() { return tasks_.stop(); }

 private:
  Task<void> look(store::SandboxRecord sandbox);
  Task<Result<Sample>> ask(std::string id, std::string token);
  bool is_fresh(const std::string& id) const;

  const config::Config& config_;
  store::AsyncStore& store_;
  TurnQueue turns_{kMostAtOnce};
  std::map<std::string, std::deque<Sample>> series_;
  std::set<std::string> looking_;  ///< whose guest is being asked, or waits for its turn
  Condition looked_;               ///< one of them is done
  TaskGroup tasks_;
};

}  // namespace hako::api
