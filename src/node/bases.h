// The snapshots that machines and checkpoints stand on.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "base/async/turn_queue.h"
#include "engine/sealed_file.h"
#include "node/context.h"
#include "node/loaded_snapshot.h"

namespace hako::node {

/// Finds a snapshot by its id for as long as anything stands on it, also when the template it came
/// from has been built anew or removed. Thread: the node's executor.
class Bases {
 public:
  using Base = std::shared_ptr<const LoadedSnapshot>;

  explicit Bases(Context& context) : context_(context) {}

  /// While it exists collect() leaves that one alone: for what is about to stand on it.
  class Pin {
   public:
    Pin(Bases& bases, std::string id) : bases_(bases), at_(bases.pinned_.insert(std::move(id))) {}
    Pin(const Pin&) = delete;
    Pin& operator=(const Pin&) = delete;
    ~Pin() { bases_.pinned_.erase(at_); }

   private:
    Bases& bases_;
    std::multiset<std::string>::iterator at_;
  };

  /// Makes it known; it is kept in memory only by those who hold it.
  void note(const Base& base);
  /// One is read at a time, as each takes as much memory as a machine: who asks for the same one gets
  /// the same. Errors: not_found, corrupted, failed_precondition (made with another VMM, accelerator or
  /// CPU).
  Task<Result<Base>> find(std::string id);
  /// On disk and durable when this returns, so that a checkpoint may rely on it: some 0.2 s the
  /// first time. Whoever wants it to stay holds a Pin until collect() is told of it.
  /// Errors: no_space, or the OS error.
  Task<Result<void>> keep(Base base);
  /// Removes those on disk that are neither pinned nor in what `needed` says when nothing else is
  /// being kept or removed.
  Task<void> collect(std::function<std::set<std::string>()> needed);
  /// Removes what a crash has left half written or half removed. Blocking.
  void remove_unfinished() const;

 private:
  /// With a key, of that key: one that was kept in clear, or with another key, is no use then.
  std::string folder_of(const std::string& id) const;
  engine::Seal seal_of(const std::string& id, const char* part) const;
  Result<void> save_memory(const LoadedSnapshot& base, const std::string& folder) const;
  Result<engine::Snapshot> load_memory(const std::string& id, const std::string& folder) const;
  Task<Result<Base>> load(std::string id);

  Context& context_;
  std::map<std::string, std::weak_ptr<const LoadedSnapshot>> known_;
  std::multiset<std::string> pinned_;
  TurnQueue reading_;
  TurnQueue changing_;  ///< what is on disk
};

}  // namespace hako::node
