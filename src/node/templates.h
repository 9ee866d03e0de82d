// Templates and their snapshots.
#pragma once

#include <map>
#include <set>

#include "base/async/turn_queue.h"
#include "image/image.h"
#include "node/template_builder.h"
#include "node/vm.h"

namespace hako::node {

/// What boxes can be made from. "base" is the installed image; others were built from one in a
/// machine, and keep the disk that this left. Those that come from an imported image have a root
/// file system of their own beside it, shared by all templates that were built from that one.
struct Template {
  std::string name;
  engine::MachineSize size;  ///< of boxes that ask for none
  int disk_mib = 0;
  std::string revision;  ///< changes when the content does; snapshots are bound to it
  std::string disk;      ///< scratch disk to boot with; empty: a fresh one
  std::string root;      ///< file name in root_dir(); empty: the installed image's
  Startup startup;
  WallTime created{};
};

/// Knows the templates and keeps one snapshot per template and size: in memory, on disk, or made by
/// a cold boot, whichever comes first. Thread: the node's executor.
class Templates {
 public:
  Templates(Context& context, Bases& bases, image::Image image);

  /// Reads the templates on disk; what is wrong with one is logged, and it is left out. Errors: those of
  /// reading, which say nothing about a template.
  Result<void> load();
  /// Removes snapshots on disk that are of no template, once all machines are known: what a crash has
  /// left of its removal.
  Task<void> collect();

  const Template* find(const std::string& name) const;
  std::vector<Template> list() const;
  /// "ready", "building" or "failed" (with the reason) for the default size.
  struct State {
    std::string state;
    std::string error;
  };
  State state(const std::string& name) const;

  /// The snapshot of `name` at `size`; made if need be, which takes seconds. Concurrent callers for
  /// one snapshot share one making. Errors: not_found, or why the boot failed.
  /// `tenant`: whose processors a making takes; empty: nobody's.
  Task<Result<std::shared_ptr<const LoadedSnapshot>>> snapshot(std::string name,
                                                               engine::MachineSize size,
                                                               std::string tenant = {});

  /// The snapshot of that id, by whatever machine or template still has it. Errors: not_found, those
  /// of reading it.
  Task<Result<Bases::Base>> base(std::string id);
  /// How a box is booted that has nothing but a scratch disk of its own left.
  Vm::ColdBoot boot_of(const CheckpointRecord& of, std::string rootfs, std::string disk) const;
  /// How a machine for building on `what` is booted. Its disk, where the template has none, is a
  /// fresh one that the caller removes when the machine is up (it is in snapshot_dir()).
  Task<Result<Vm::ColdBoot>> boot_for_build(const Template& what);
  /// Takes in (or replaces) a template whose machine was captured; `disk` is taken over. The
  /// revision and the time are set here. Nothing changes on failure, and `disk` is gone then too. Where
  /// only its snapshot could not be kept, it is there without one, which is made when it is asked for.
  Task<Result<Template>> add(Template what, engine::Snapshot memory, std::string disk);
  /// Also one that was left out. failed_precondition for the default template.
  Task<Result<void>> remove(std::string name);

  void remove_unused_roots();

 private:
  struct Variant {
    TurnQueue making;
    std::shared_ptr<const LoadedSnapshot> loaded;
    std::string error;  ///< why the last try failed
  };

  std::vector<std::string> snapshots_of(const std::string& name) const;
  std::string rootfs_of(const Template& what) const;
  /// Why it is of no use on this node, if it is not.
  Result<void> check(const Template& what, const std::string& folder) const;
  Result<void> sort_snapshots();
  Task<void> remove_snapshot(std::string key);
  void note_use(const std::string& variant);
  /// Before a snapshot on disk goes: keeps it elsewhere if a machine stands on it. False where that
  /// could not be done.
  Task<bool> retire(std::string key);
  Task<Result<Bases::Base>> load_folder(std::string key);
  Task<void> forget_old_variants(std::string newest);
  std::string key(const std::string& name, engine::MachineSize size) const;
  Variant& variant(const std::string& name, engine::MachineSize size);
  Task<Result<std::shared_ptr<const LoadedSnapshot>>> load_or_make(const Template& what,
                                                                   engine::MachineSize size,
                                                                   std::string tenant);
  Task<Result<std::shared_ptr<const LoadedSnapshot>>> load_from_disk(const Template& what,
                                                                     engine::MachineSize size);
  Task<Result<std::shared_ptr<const LoadedSnapshot>>> keep(const Template& what,
                                                           engine::MachineSize size,
                                                           engine::Snapshot memory,
                                                           std::string disk_being_kept);
  Result<Bases::Base> take_in(const Template& what, engine::Snapshot memory,
                              const std::string& folder);
  Vm::ColdBoot cold_boot(const Template& what, engine::MachineSize size, std::string disk) const;
  Task<Result<std::string>> boot_disk(const Template& what);

  Context& context_;
  Bases& bases_;
  image::Image image_;
  std::map<std::string, Template> templates_;
  /// That are on disk, and of no use now; with the root file system each has, where that is known.
  std::map<std::string, std::optional<std::string>> left_out_;
  std::vector<std::string> of_no_template_;  ///< snapshots that load() has found
  std::map<std::string, std::shared_ptr<Variant>> variants_;
  TurnQueue boots_;
  std::deque<std::string> recently_used_;  ///< variants of built templates, the last used last
  std::deque<std::string> asked_sizes_;
};

}  // namespace hako::node
