// Boxes as they stood at one moment, on disk.
#pragma once

#include <map>
#include <optional>

#include "engine/sealed_file.h"
#include "node/bases.h"

namespace hako::node {

/// What a machine that goes on from there is made from.
struct BoxState {
  Bases::Base base;
  bool memory = true;  ///< otherwise only the disk, to be booted
  /// Over the memory of `base`; none: it is the same.
  std::shared_ptr<const engine::Checkpoint> machine;
  Fd disk;             ///< scratch disk of that moment
  int generation = 0;  ///< of the guest's identity then
};

/// What is known of a checkpoint without reading it.
struct CheckpointRecord {
  std::string id;
  std::string tenant, box;  ///< whose it was
  std::string template_name;
  engine::MachineSize size;
  int disk_mib = 0;
  bool memory = true;  ///< otherwise only the disk
  bool on_base = false;  ///< its memory is that of the snapshot
  GuestDefaults defaults;
  boost::json::object envs;  ///< the box's own
  std::string base;  ///< id of the snapshot it stands on
  int generation = 0;
  WallTime created{};
  int64_t bytes = 0;  ///< that it takes on disk, without what it stands on
  std::string disk_sum;
  std::string problem;  ///< why nothing of this is known but the id; empty: it is
};

/// A folder each, in checkpoint_dir(): whole or not there. Thread: the node's executor; no call may
/// be cancelled.
class Checkpoints {
 public:
  Checkpoints(Context& context, Bases& bases) : context_(context), bases_(bases) {}

  /// Finds those of earlier runs. One that is not as it was written stays, with its `problem`: it may
  /// be somebody's only state. Errors: the OS error, if they could not be looked at just now: what is
  /// not found here is taken for gone.
  Task<Result<void>> load();
  /// Removes what neither they nor the machines that there are stand on.
  Task<void> collect();

  /// Durable when this returns; `record` gets its size and its time. One of the same id is replaced,
  /// but only then. Errors: already_exists (it is being saved just now), no_space, or the OS error;
  /// then what there was is as it was.
  Task<Result<CheckpointRecord>> save(CheckpointRecord record, const BoxState& state);
  /// Everything in it is checked first. Errors: not_found; corrupted (says which part);
  /// failed_precondition (made with another VMM, accelerator or CPU).
  Task<Result<BoxState>> open(std::string id);
  /// Errors: not_found.
  Task<Result<void>> remove(std::string id);

  const CheckpointRecord* find(const std::string& id) const;
  std::vector<CheckpointRecord> list() const;
  /// A path for a file that is removed at the next start if it is still there.
  std::string temporary() const;

 private:
  std::string folder_of(const std::string& id) const {
    return context_.checkpoint_dir() + "/" + id;
  }
  engine::Seal seal_of(const std::string& id, const char* part) const;

  Context& context_;
  Bases& bases_;
  std::map<std::string, CheckpointRecord> records_;
  std::set<std::string> being_saved_;  ///< ids
};

}  // namespace hako::node
