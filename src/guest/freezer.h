// Standing still: while a machine is copied no program in it may move, and in the copy none may
// before the copy has become a machine of its own.
#pragma once

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/async/turn_queue.h"
#include "base/fd.h"

namespace hako::guest {

/// The control groups (v2) in which programs run, and the disk they write to.
/// Nothing thaws by itself, not even after hours: a machine cannot tell whether it is still the one
/// that was frozen, or a copy of it in which nobody may move yet. Only the host can, so only the
/// host says so. Thread: one executor.
class Freezer {
 public:
  /// `groups`: the folder under which all groups of programs are; empty where programs cannot be
  /// frozen. `disk`: a path on the file system that is written out; empty for none.
  Freezer(std::string groups, std::string disk);
  ~Freezer();

  /// Makes the group that programs start in.
  Result<void> prepare();
  /// The folder of that group, ours; -1 if there is none.
  int group() const { return group_.get(); }

  /// Writes the disk out, stops every program, wherever it has been moved, and writes the disk out
  /// again, this time a little. Frozen already: success.
  /// Errors, all of which leave the programs running: unsupported; timed_out, if a program or the
  /// disk took longer than 2 s (10 s for writing out while programs still run).
  Task<Result<void>> freeze();
  /// Lets all programs go on. Not frozen: success.
  Result<void> thaw();

  bool frozen() const { return frozen_; }
  /// While frozen, nothing may be started: it would stop half-way, and its starter with it.
  Task<void> wait_until_thawed();

 private:
  class Disk;

  Task<Result<void>> stand_still();
  Task<Result<void>> stop_programs(Duration limit);
  Result<bool> try_to_stop();
  Result<bool> gather_strays();
  Result<std::vector<std::string>> top_groups() const;
  std::string who_moves() const;

  std::string groups_;
  std::unique_ptr<Disk> disk_;
  Fd group_;
  bool frozen_ = false;
  std::vector<std::string> stopped_;  ///< by us: a program may have frozen groups of its own
  std::set<pid_t> kernel_threads_;    ///< as seen by this freeze, which is short
  TurnQueue turns_;
  Condition thawed_;
};

}  // namespace hako::guest
