// Virtual machine monitors behind one interface. The rest of the system cannot tell which one runs.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/async/task.h"
#include "base/fd.h"
#include "base/process.h"
#include "base/result.h"
#include "engine/memory_delta.h"

namespace hako::engine {

/// Which wall stands between a guest and the host.
enum class Isolation { hardware, emulated };
std::string_view to_string(Isolation isolation);

enum class AccelMode { automatic, kvm, tcg };

/// Starts a VMM process. The node hands in one that jails it; tests may start it plainly.
/// The spec's descriptors stay the caller's, who may close them at once. The program need not run yet
/// (see start_spawning()).
using Launcher = std::function<Result<Process>(const ProcessSpec&)>;

struct MachineSize {
  int vcpus = 1;
  int memory_mib = 256;
};

/// What a guest of ours boots from. Paths are the operator's, never a tenant's.
struct BootImage {
  std::string kernel;   ///< uncompressed ELF with a PVH note
  std::string initrd;   ///< uncompressed cpio
  std::string cmdline;  ///< extra kernel arguments; the engine adds its own
};

/// What a VMM holds its guest's disk to, reads and writes together. 0: no limit.
struct DiskRate {
  int64_t bytes_per_second = 0;
  int64_t operations_per_second = 0;
};

/// Descriptors a machine is started with; the machine takes its own copies.
struct MachineDevices {
  int rootfs = -1;    ///< read-only raw image, becomes /dev/vda
  int scratch = -1;   ///< read-write raw image, becomes /dev/vdb
  int tap = -1;       ///< opened with IFF_TAP|IFF_NO_PI|IFF_VNET_HDR
  std::string mac;    ///< of the guest's interface
  DiskRate disk_rate = {};  ///< of scratch
  Launcher launcher;  ///< how this machine's VMM is started; empty: the engine's own launcher
};

/// Everything a restored machine must share with the one that was captured.
/// A snapshot is used only where all of it is equal (tsc_khz: within 500 ppm).
struct Fingerprint {
  std::string engine;     ///< "qemu"
  std::string vmm_build;  ///< version and build of the VMM binary
  Isolation isolation = Isolation::emulated;
  std::string cpu;  ///< host CPU model; matters to a restored guest
  int64_t tsc_khz = 0;
  bool compatible_with(const Fingerprint& other) const;
};

/// A captured template: device state, and memory that clones map privately.
/// Immutable; shared by all its clones.
struct Snapshot {
  MachineSize size;
  Fingerprint fingerprint;
  std::string device_state;  ///< opaque to us, made by the VMM
  Fd memory;                 ///< sealed memfd of exactly the RAM size
};

/// Names a snapshot by its content: that of its device state, which no two captures have in common,
/// and all that a machine restored from it depends on. The same after it was saved and loaded.
std::string snapshot_id(const Snapshot& snapshot);

/// A clone as it stood at one moment. It means nothing without the snapshot of that clone, and
/// nothing to any other: the memory is that of the snapshot with `memory` over it. Clones of
/// checkpoints have the same snapshot, so there is never a chain. Immutable.
struct Checkpoint {
  std::string base;          ///< snapshot_id() of the snapshot
  std::string device_state;  ///< opaque to us, made by the VMM
  MemoryDelta memory;
  /// When the machine was told to stop, for whoever wants to know how long it stood still.
  std::chrono::steady_clock::time_point paused_at{};
};

/// How to find a running machine again after this daemon has restarted.
struct MachineRecord {
  pid_t pid = -1;
  uint64_t start_time = 0;
  std::string control_path;  ///< unix socket of the VMM's control channel
  std::string base = {};     ///< snapshot_id() of what it is a clone of; empty: it was booted
};

/// Copies what belongs to a checkpoint and is not memory: disks. Runs on a thread of the engine's
/// while the machine stands still; may block, for a bounded time.
using PausedWork = std::function<Result<void>()>;

/// A running (or paused) machine. The destructor kills the VMM, but not that of one which was adopted,
/// nor after release().
/// Calls on one machine must not overlap, except kill() and wait_end(). Every call has a deadline.
class Machine {
 public:
  virtual ~Machine() = default;
  virtual MachineRecord record() const = 0;
  /// Stops the virtual CPUs. Errors: timed_out, unavailable (VMM gone or in an internal error).
  virtual Task<Result<void>> pause() = 0;
  /// Of a machine that runs already, nothing happens.
  virtual Task<Result<void>> resume() = 0;
  /// Captures a clone, however many checkpoints lie between it and its snapshot. It runs on while
  /// this prepares; then it is paused, `paused_work` (if any) runs beside the copying of the
  /// memory, and it is left paused, for the caller to resume or to end. The pause takes some
  /// milliseconds, and 0.3 to 0.5 ms for each MiB in which it differs from its snapshot; and what
  /// of its scratch disk the host has yet to write, is written then: sync that file before.
  /// Errors: failed_precondition (not a clone), permission_denied (no CAP_SYS_PTRACE), unavailable,
  /// timed_out, resource_exhausted, those of `paused_work`. It may be paused or not after an error:
  /// resume() is right for both. Cancel: safe; as an error, and never in the middle of the pause.
  virtual Task<Result<Checkpoint>> checkpoint(PausedWork paused_work = {}) = 0;
  /// ok while the VMM answers and its run state is sane; says what is wrong otherwise.
  virtual Task<Result<void>> check_health() = 0;
  /// The last of what the guest wrote to its console, at most 64 KiB; hostile text. After adopt(),
  /// without what was read before.
  virtual Task<Result<std::string>> console_tail() = 0;
  /// Ends the VMM and waits until it has gone. Never fails.
  virtual Task<void> kill() = 0;
  /// Returns when the VMM has ended, for whatever reason.
  virtual Task<ExitStatus> wait_end() = 0;
  /// Leaves the VMM running when this object goes (see MachineRecord).
  virtual void release() = 0;
};

/// A booting template: a machine whose memory is a fresh memfd of its own.
struct Booted {
  std::unique_ptr<Machine> machine;
  Fd memory;
};

/// A snapshot of its own that is `over` applied to `base`: its clones share all memory, also that
/// which the checkpoint had changed. Blocking: 0.2 to 0.5 s for 256 to 512 MiB of guest
/// memory. Worth it for a checkpoint that covers a quarter of memory or more, or that many children
/// start from.
/// Errors: failed_precondition (not of a clone of `base`), corrupted, or the OS error.
Result<Snapshot> materialise(const Snapshot& base, const Checkpoint& over);

class Engine {
 public:
  virtual ~Engine() = default;
  virtual const Fingerprint& fingerprint() const = 0;
  /// Why this engine runs with KVM or without, in plain words, for operators.
  virtual const std::string& accel_reason() const = 0;

  /// Starts a machine from its kernel. `control_path`: where the VMM's control socket is made; its
  /// folder must exist and be closed to others. Returns when the virtual CPUs run; whether the
  /// guest comes up is for the caller to see.
  virtual Task<Result<Booted>> boot(const BootImage& image, const MachineSize& size,
                                    const MachineDevices& devices,
                                    const std::string& control_path) = 0;

  /// Stops a booted machine, saves its devices, ends its VMM and seals its memory.
  /// The scratch disk may be copied once this has returned.
  virtual Task<Result<Snapshot>> capture(Booted booted, const MachineSize& size) = 0;

  /// A copy-on-write clone of `snapshot`, restored and paused: resume() sets it going.
  /// Errors: failed_precondition (fingerprint does not fit), corrupted, timed_out, unavailable.
  Task<Result<std::unique_ptr<Machine>>> clone(const Snapshot& snapshot,
                                               const MachineDevices& devices,
                                               const std::string& control_path) {
    return clone(snapshot, nullptr, devices, control_path);
  }
  /// The same as it was at the checkpoint `over`, which must be one of a clone of `base`
  /// (failed_precondition). Its scratch disk must be that of then. Memory in which it differs from
  /// `base` is its own from the start, and takes 1 to 1.5 ms for each MiB: where that is much, or
  /// for many children, materialise() first.
  virtual Task<Result<std::unique_ptr<Machine>>> clone(const Snapshot& base, const Checkpoint* over,
                                                       const MachineDevices& devices,
                                                       const std::string& control_path) = 0;

  /// Finds a machine that an earlier run of this daemon released. Errors: not_found (it has ended);
  /// unavailable, timed_out (it runs but does not answer, and is left running: the caller decides).
  virtual Task<Result<std::unique_ptr<Machine>>> adopt(const MachineRecord& record) = 0;
};

}  // namespace hako::engine
