// The snapshots that machines and checkpoints stand on.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>

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

  /// Makes it known; it is kept in memory only by those who hold it.
  void note(const Base& base);
  /// Errors: not_found, corrupted, failed_precondition (made with another VMM, accelerator or CPU).
  Task<Result<Base>> find(std::string id);
  /// On disk and durable when this returns, so that a checkpoint may rely on it: some 0.2 s the
  /// first time. Errors: no_space, or the OS error.
  Task<Result<void>> keep(Base base);
  /// Removes those on disk that none of `needed` is. To be called with nothing being kept meanwhile.
  Task<void> collect(std::set<std::string> needed);

 private:
  std::string folder_of(const std::string& id) const { return context_.base_dir() + "/" + id; }
  engine::Seal seal_of(const std::string& id, const char* part) const;
  Result<void> save_memory(const LoadedSnapshot& base, const std::string& folder) const;
  Result<engine::Snapshot> load_memory(const std::string& id, const std::string& folder) const;
  Task<Result<Base>> load(std::string id);

  Context& context_;
  std::map<std::string, std::weak_ptr<const LoadedSnapshot>> known_;
};

}  // namespace hako::node
