#include <algorithm>
#include <boost/json.hpp>
#include <iterator>

#include "doctor/checks.h"
#include "engine/kvm_verdict.h"

namespace hako::doctor {
namespace json = boost::json;
namespace {

constexpr const char* kHardware =
    "Boxes run behind hardware virtualisation: a program that wants out has to break through the "
    "processor's own wall, and then through the jail around the virtual machine's process.";
constexpr const char* kEmulated =
    "Boxes run in emulation, which is for development and for code you trust. QEMU's developers do "
    "not treat an escape from emulation as a security bug, so it may never be fixed: the jail "
    "around the process is then the only wall. Do not put strangers' code here, and do not let "
    "strangers reach this machine. Boxes are also several times slower.";
constexpr const char* kNone =
    "Boxes cannot run here: the configuration demands hardware virtualisation, and it does not "
    "work on this machine.";

struct Meaning {
  std::string_view id, reads, wants;
};

/// docs/doctor.md has the same for people, which a test holds them to.
constexpr Meaning kMeanings[] = {
    {"user", "the effective user", "root"},
    {"kvm", "/dev/kvm, by running guest code in it", "runs an ordinary kernel"},
    {"qemu", "[engine] qemu --version", "7.2 or later"},
    {"image", "[paths] images: manifest and checksums", "whole, and of this version"},
    {"tun", "/dev/net/tun", "can be opened by root"},
    {"cgroups", "/proc/self/mountinfo, cgroup.controllers", "cpu, memory, pids, writable"},
    {"kernel", "/proc/sys/kernel/osrelease", "5.12 or later; tested on 6.1"},
    {"memory", "/proc/meminfo: MemAvailable",
     "[limits] min_free_memory_mib and one box of [template] memory_mib"},
    {"disk", "statvfs(2) and FICLONE at [paths] state",
     "[limits] min_free_disk_mib free, files that can share data"},
    {"programs", "the folder of hako, hakod and hako-gate", "root's, and writable for no one else"},
    {"api_certificate", "[api] certificate and key", "fit each other, and last two weeks more"},
    {"gate_certificate", "[gate] certificate and key", "fit each other, and last two weeks more"},
    {"limits", "RLIMIT_NOFILE, /proc/sys/kernel/pid_max and threads-max",
     "enough for [limits] boxes"},
    {"vulnerabilities", "/sys/devices/system/cpu/vulnerabilities, /proc/cmdline",
     "none \"Vulnerable\", no mitigations=off"},
    {"microcode", "/proc/cpuinfo: microcode", "the latest, on all processors"},
    {"smt", "/sys/devices/system/cpu/smt/active", "0"},
    {"ksm", "/sys/kernel/mm/ksm/run", "0"},
    {"swap", "/proc/swaps", "none, or encrypted"},
    {"huge_pages", "/sys/kernel/mm/transparent_hugepage: enabled, shmem_enabled",
     "neither \"always\" nor \"force\""},
    {"nested", "/sys/module/kvm_intel or kvm_amd: nested", "0"},
    {"nx_huge_pages", "vulnerabilities/itlb_multihit, /sys/module/kvm: nx_huge_pages",
     "not affected, or not \"never\""},
    {"kvm_timer", "/sys/module/kvm: min_timer_period_us", "100 or more"},
    {"userfaultfd", "/proc/sys/vm/unprivileged_userfaultfd", "0"},
    {"process_memory", "/proc/sys/kernel/yama/ptrace_scope", "2 or less"},
    {"mounts", "/proc/self/mounts", "500 at most"},
    {"user-namespaces", "/proc/sys/user/max_user_namespaces, unprivileged_userns_clone",
     "more than 0; 1"},
    {"console", "/proc/sys/kernel/printk", "5 or less"},
    {"memory_errors", "/sys/devices/system/edac/mc", "ECC, no uncorrected errors"},
    {"core_dumps", "/proc/sys/kernel/core_pattern", "no program"},
    {"cgroup_moves", "/proc/self/mountinfo: options of cgroup2", "favordynmods, under KVM"},
    {"seccomp", "/proc/sys/kernel/seccomp/actions_avail", "kill_process, errno"},
    {"uids", "/etc/passwd, /etc/subuid", "none of [users] api, gate, vmm_base and above"},
    {"paths", "[paths] state, run and images, [engine] qemu, [template] skopeo, and all above them",
     "root's, and writable for no one else"},
    {"egress", "the network namespaces in [paths] run, through netlink",
     "no route out, the rules of this version"},
    {"skopeo", "[template] skopeo --version", "there, where [template] registries names any"},
};

size_t count_of(const Report& report, Status status) {
  return size_t(std::count_if(report.checks.begin(), report.checks.end(),
                              [status](const Check& check) { return check.status == status; }));
}

}  // namespace

std::string_view to_string(Status status) {
  switch (status) {
    case Status::ok:
      return "ok";
    case Status::warn:
      return "warn";
    case Status::fail:
      return "fail";
    case Status::skip:
      return "skip";
  }
  return "skip";
}

Status Report::worst() const {
  if (count_of(*this, Status::fail) > 0) return Status::fail;
  return count_of(*this, Status::warn) > 0 ? Status::warn : Status::ok;
}

int exit_status(const Report& report) {
  switch (report.worst()) {
    case Status::fail:
      return 1;
    case Status::warn:
      return 3;
    default:
      return 0;
  }
}

Report examine(const config::Config& config, const Sources& sources) {
  Report report;
  engine::KvmProbe kvm;
  if (config.accel == "tcg") {
    kvm.reason = "not asked for";
  } else {
    kvm = sources.probe_kvm();
    // A real guest that failed knows better than a few instructions that passed.
    auto verdict = engine::read_kvm_verdict(sources.root + config.run_dir + "/kvm-verdict.json");
    if (verdict && !verdict->works && engine::of_this_boot(*verdict)) {
      kvm.usable = false;
      kvm.reason = "a guest did not come up under it: " + verdict->reason;
    }
  }
  bool hardware = kvm.usable && config.accel != "tcg";
  report.isolation = hardware ? "hardware" : config.accel == "kvm" ? "none" : "emulated";
  report.isolation_text = hardware ? kHardware : config.accel == "kvm" ? kNone : kEmulated;
  report.checks = {
      check_user(sources),
      check_kvm(config, kvm),
      check_qemu(config, sources),
      check_image(config),
      check_tun(sources),
      check_cgroups(sources),
      check_kernel(sources),
      check_memory(config, sources),
      check_disk(config),
      check_programs(sources),
      check_api_certificate(config),
      check_gate_certificate(config),
      check_limits(config, sources),
      check_vulnerabilities(sources),
      check_smt(sources),
      check_ksm(sources),
      check_swap(sources),
      check_huge_pages(sources),
      check_nested(sources),
      check_userfaultfd(sources),
      check_process_memory(sources),
      check_mounts(sources),
      check_user_namespaces(sources),
      check_microcode(sources),
      check_nx_huge_pages(sources),
      check_kvm_timer(sources),
      check_console(sources),
      check_memory_errors(sources),
      check_core_dumps(sources),
      check_cgroup_moves(sources, hardware),
      check_seccomp(sources),
      check_uids(config, sources),
      check_paths(config, sources),
      check_egress_walls(config, sources),
      check_skopeo(config, sources),
  };
  for (Check& check : report.checks) {
    auto meaning = std::find_if(std::begin(kMeanings), std::end(kMeanings),
                                [&](const Meaning& one) { return one.id == check.id; });
    if (meaning == std::end(kMeanings)) continue;
    check.reads = meaning->reads;
    check.wants = meaning->wants;
  }
  return report;
}

std::string to_text(const Report& report) {
  std::string out = "isolation: " + report.isolation + "\n" + report.isolation_text + "\n\n";
  for (const Check& check : report.checks) {
    std::string status(to_string(check.status));
    status.resize(5, ' ');
    out += status + check.title + ": " + check.detail + "\n";
    bool matters = check.status == Status::fail || check.status == Status::warn;
    if (!matters) continue;
    if (!check.reads.empty())
      out += "     looked at: " + check.reads + "; wanted: " + check.wants + "\n";
    if (!check.fix.empty()) out += "FIX: " + check.fix + "\n";
  }
  size_t failures = count_of(report, Status::fail), warnings = count_of(report, Status::warn);
  if (failures > 0) {
    out += "\nhako cannot run here yet: " + std::to_string(failures) +
           " checks say fail, with what to do in the line FIX below.\n";
  } else if (warnings > 0) {
    out += "\nhako can run here; " + std::to_string(warnings) +
           " checks say warn: slower, or with a weaker wall, than it could.\n";
  } else {
    out += "\nhako can run here.\n";
  }
  return out;
}

std::string to_json(const Report& report) {
  json::array checks;
  for (const Check& check : report.checks) {
    json::object item;
    item["id"] = check.id;
    item["title"] = check.title;
    item["status"] = to_string(check.status);
    item["detail"] = check.detail;
    item["fix"] = check.fix;
    item["reads"] = check.reads;
    item["wants"] = check.wants;
    checks.emplace_back(std::move(item));
  }
  json::object object;
  object["ok"] = !report.failed();
  object["failures"] = count_of(report, Status::fail);
  object["warnings"] = count_of(report, Status::warn);
  object["isolation"] = report.isolation;
  object["isolation_text"] = report.isolation_text;
  object["checks"] = std::move(checks);
  return json::serialize(object);
}

}  // namespace hako::doctor
