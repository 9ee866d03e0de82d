// One virtual machine with all that belongs to it.
#pragma once

#include "base/async/turn_queue.h"
#include "node/context.h"
#include "node/checkpoints.h"

namespace hako::node {

/// What a guest gets about secrets with its identity, and the node hands on without keeping it.
struct Trust {
  /// No aggregate, as it may stand in a statement with co_await.
  Trust() {}
  std::string ca_certificate;        ///< PEM of its own authority; empty: it keeps what it has
  boost::json::object placeholders;  ///< variables; what was asked for as environment wins over them
};

/// A VMM process, its slot, its scratch disk, its record, and its place in the gate.
/// destroy() gives all of it back, in that order; the destructor only kills the VMM, and what is
/// left then is found by reconcile at the next start.
/// Thread: the node's executor. Calls on one Vm must not overlap, except watching its end.
/// Cancel: none of these may be cancelled, or the machine would be left half-made: callers use
/// run_to_end(). Each step has a deadline.
class Vm {
 public:
  /// A running clone that the gate knows, with its guest's identity not yet set.
  /// `tenant`: whose share of the processors it takes; empty: nobody's yet.
  static Task<Result<std::unique_ptr<Vm>>> clone(Context& context, Bases::Base snapshot,
                                                 std::string tenant = {});
  /// The same, going on from where a box once was. Its programs wait until it has its identity.
  static Task<Result<std::unique_ptr<Vm>>> restore(Context& context, const BoxState& state,
                                                   const CheckpointRecord& of,
                                                   std::string tenant);

  struct ColdBoot {
    engine::BootImage image;
    std::string rootfs;  ///< path of the read-only root image
    std::string disk;    ///< path of a scratch disk; copied for this machine
    std::string template_name;
    std::string tenant;  ///< whose share of the processors it takes; empty: nobody's
    engine::MachineSize size;
    int disk_mib = 0;
  };
  /// A machine booted from its kernel and known to the gate; its guest may still be coming up.
  static Task<Result<std::unique_ptr<Vm>>> boot(Context& context, const ColdBoot& boot);
  /// Returns when a cold-booted machine's VMM has ended.
  Task<ExitStatus> boot_ended();
  /// The last of a cold-booted guest's console, for a message about why it does not come up.
  Task<std::string> boot_console();
  /// Copies a booted machine's scratch disk while its processors stand still. What the guest has
  /// not written out yet is not in it: let it sync first. `to` must not exist.
  Task<Result<void>> copy_scratch(std::string to);
  /// Stops a booted machine for good and takes its snapshot; `disk` receives its scratch disk.
  /// The Vm is destroyed, whatever the outcome.
  static Task<Result<engine::Snapshot>> capture(std::unique_ptr<Vm> vm, std::string disk);

  /// A machine of an earlier run, by its record; it is still to be found.
  static std::unique_ptr<Vm> known(Context& context, VmRecord record);
  /// Looks for what an earlier run left of this machine: its VMM, its slot. Harmless to try again.
  /// Errors: not_found (the VMM or its network namespace is gone), others that may pass.
  /// Cancel: safe, unlike all else here.
  Task<Result<void>> find_again();
  /// unavailable, of a machine that has ended or is still to be found.
  static Error does_not_answer();

  ~Vm();
  Vm(const Vm&) = delete;
  Vm& operator=(const Vm&) = delete;

  const VmRecord& record() const { return record_; }
  /// Changes the record and writes it down.
  Result<void> update_record(const std::function<void(VmRecord&)>& change);
  /// Shared, so that whoever watches its end may outlive this object. Nothing where it has ended, or
  /// is still to be found.
  std::shared_ptr<engine::Machine> machine() { return machine_; }
  /// Taken around calls on machine(), which must not overlap.
  TurnQueue& turns() { return turns_; }

  /// Gives the guest a fresh identity, under the record's next generation. timed_out after 10 s.
  Task<Result<void>> identify(const std::string& sandbox, boost::json::object envs,
                              Trust trust = Trust());
  /// Tells the gate of this machine (again), and gives it the sockets for what the guest sends out.
  Task<Result<void>> announce();
  Result<std::vector<Fd>> open_sockets(int count) const;

  /// Moves the VMM to the share of the record's tenant. May run beside other calls.
  Task<void> take_share();
  /// Whether its VMM has ended because the kernel had no memory for it, in words for whoever had
  /// the box. Before destroy().
  Task<std::optional<std::string>> out_of_memory();

  Task<void> destroy();
  /// The state of this moment: of a machine with a base. With `memory` all of it, else only the disk, of
  /// which nothing is missing that the guest has written. Leaves the machine standing still: go_on()
  /// or destroy() must follow, after an error as well. unavailable where the guest does not let its
  /// programs be stopped, and where destroy() came in between, which may run beside this and go_on().
  Task<Result<BoxState>> stop_and_take_state(bool memory);
  /// Sets machine and programs going again; harmless where they are.
  Task<Result<void>> go_on();
  /// What its memory stands on; nothing where that is not known.
  const Bases::Base& base() const { return base_; }
  /// For an adopted machine, once what is named in its record was found.
  void stand_on(Bases::Base base) { base_ = std::move(base); }
  /// Whether go_on() is owed to it. Of an adopted machine that is not known, and assumed.
  bool stands_still() const { return stands_still_; }

  /// Lets go of a machine that is to outlive this daemon.
  void release();

 private:
  Vm(Context& context, VmRecord record);

  static Task<Result<std::unique_ptr<Vm>>> start(Context& context, VmRecord record,
                                                 Bases::Base base, const engine::Checkpoint* over,
                                                 int disk);
  static Task<Result<std::unique_ptr<Vm>>> prepare(Context& context, VmRecord record, int disk);
  Result<engine::MachineDevices> devices(int rootfs, Fd& own_rootfs, Fd& tap);
  std::string folder() const { return context_.vm_dir() + "/" + record_.machine; }
  Result<void> write_record();

  Context& context_;
  VmRecord record_;
  network::Slot slot_;
  Fd scratch_;
  Bases::Base base_;
  bool stands_still_ = false;
  std::shared_ptr<engine::Machine> machine_;
  TurnQueue turns_;
  TurnQueue sharing_;  ///< a VMM is not reaped while it moves: its pid could be another's
  std::vector<Fd> doors_;  ///< to the groups it is born into
  // Of a cold-booted template only:
  std::unique_ptr<engine::Machine> booted_;
  Fd boot_memory_;
};

/// Removes the folder and control socket of a machine that is no more. Missing is success.
void remove_vm_files(const Context& context, const std::string& machine);

}  // namespace hako::node
