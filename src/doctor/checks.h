// Whether this machine can run hako, and how well its walls stand.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "config/config.h"
#include "engine/kvm_probe.h"

namespace hako::doctor {

enum class Status {
  ok,
  warn,  ///< hako runs, but slower or with a weaker wall than it could
  fail,  ///< hako does not run
  skip,  ///< cannot be told here
};
std::string_view to_string(Status status);

struct Check {
  std::string id;  ///< stable: "kvm", "swap"
  std::string title;
  Status status = Status::ok;
  std::string detail;  ///< what was found
  std::string fix;     ///< what to do; empty where nothing is needed
  // The same for every machine; filled by examine().
  std::string reads;  ///< where it looks
  std::string wants;  ///< what should be found there
};

/// What keeps the traffic of running boxes inside, read back from the kernel.
struct SlotWalls {
  int slots = 0;
  std::vector<std::string> broken;  ///< a sentence for each whose walls are not whole
};

/// Where the answers come from. Tests put a directory of their own in front.
struct Sources {
  std::string root;  ///< prefix of /proc, /sys and /dev; empty for this machine
  std::function<engine::KvmProbe()> probe_kvm;
  /// First line of `binary --version`, or why it cannot be had.
  std::function<Result<std::string>(const std::string& binary)> version_of;
  /// Of the namespaces bound below a folder. permission_denied and others of files.
  std::function<Result<SlotWalls>(const std::string& directory)> slot_walls;
  std::string program_directory;  ///< of hako's own programs; empty: not checked
  unsigned user = 0;              ///< effective uid
  unsigned owner = 0;             ///< uid that programs and directories should belong to
};
/// The real ones.
Sources this_machine(std::string program_directory);

struct Report {
  std::string isolation;  ///< "hardware", "emulated", or "none" where boxes cannot run
  std::string isolation_text;
  std::vector<Check> checks;
  /// Something hako needs is missing.
  bool failed() const { return worst() == Status::fail; }
  /// fail, warn or ok: the worst that was found.
  Status worst() const;
};

/// How `hako doctor` ends: 0 when nothing is to be bettered, 1 when hako cannot run, 3 when it can,
/// with warnings. (2 is how the command line ends when it was not understood.)
int exit_status(const Report& report);

/// All checks. Blocking: starts QEMU once for its version and probes KVM; under a second, but for
/// the first look at an image, whose checksums take some seconds.
Report examine(const config::Config& config, const Sources& sources);

/// For people: a line per check, and below each that failed or warns what it has looked at and
/// wants, and a line beginning "FIX:".
std::string to_text(const Report& report);
/// {"ok","isolation","isolation_text","checks":[{"id","title","status","detail","fix",
/// "reads","wants"}],"warnings","failures"}.
std::string to_json(const Report& report);

// The single checks, for those who need one.

Check check_user(const Sources& sources);
Check check_kvm(const config::Config& config, const engine::KvmProbe& probe);
Check check_qemu(const config::Config& config, const Sources& sources);
Check check_image(const config::Config& config);
Check check_tun(const Sources& sources);
Check check_cgroups(const Sources& sources);
Check check_disk(const config::Config& config);
Check check_memory(const config::Config& config, const Sources& sources);
Check check_programs(const Sources& sources);
/// Readable, of one piece with its key, not out of date; or that none is needed. An old one keeps
/// nothing from starting.
enum class Dates { matter, ignored };
Check check_api_certificate(const config::Config& config, Dates dates = Dates::matter);
Check check_gate_certificate(const config::Config& config, Dates dates = Dates::matter);
Check check_kernel(const Sources& sources);
Check check_smt(const Sources& sources);
Check check_vulnerabilities(const Sources& sources);
Check check_ksm(const Sources& sources);
Check check_swap(const Sources& sources);
Check check_huge_pages(const Sources& sources);
Check check_nested(const Sources& sources);
Check check_userfaultfd(const Sources& sources);
/// Copies of running boxes read the memory of their VMMs (process_vm_readv).
Check check_process_memory(const Sources& sources);
Check check_mounts(const Sources& sources);
Check check_user_namespaces(const Sources& sources);
Check check_limits(const config::Config& config, const Sources& sources);
Check check_microcode(const Sources& sources);
Check check_nx_huge_pages(const Sources& sources);
Check check_kvm_timer(const Sources& sources);
Check check_console(const Sources& sources);
Check check_memory_errors(const Sources& sources);
Check check_core_dumps(const Sources& sources);
/// `hardware`: whether boxes run under KVM.
Check check_cgroup_moves(const Sources& sources, bool hardware);
Check check_seccomp(const Sources& sources);
Check check_uids(const config::Config& config, const Sources& sources);
Check check_paths(const config::Config& config, const Sources& sources);
Check check_egress_walls(const config::Config& config, const Sources& sources);
Check check_skopeo(const config::Config& config, const Sources& sources);

}  // namespace hako::doctor
