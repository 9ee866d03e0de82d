// What the kernel of this machine says of itself.
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <sstream>

#include "base/folder.h"
#include "doctor/sources.h"
#include "jail/cgroup.h"

namespace hako::doctor {
namespace {

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

/// The choice in brackets of "always [madvise] never".
std::string chosen(const std::string& text) {
  size_t open = text.find('['), close = text.find(']');
  if (open == std::string::npos || close == std::string::npos || close < open) return text;
  return text.substr(open + 1, close - open - 1);
}

bool has_word(const std::string& text, std::string_view word) {
  std::istringstream stream(text);
  for (std::string found; stream >> found;)
    if (found == word) return true;
  return false;
}

}  // namespace

Check check_kernel(const Sources& sources) {
  const char* title = "Host kernel";
  auto release = read_text(sources, "/proc/sys/kernel/osrelease");
  if (!release) return skipped("kernel", title, "its version cannot be read");
  int major = 0, minor = 0;
  std::sscanf(release->c_str(), "%d.%d", &major, &minor);
  // pidfd_open, close_range, and mount_setattr, which is the youngest.
  if (major < 5 || (major == 5 && minor < 12))
    return failed("kernel", title, *release + " is too old",
                  "use a host with Linux 5.12 or later; 6.1 is what hako is tested on");
  return passed("kernel", title, *release);
}

Check check_smt(const Sources& sources) {
  const char* title = "Sharing of cores (SMT)";
  auto active = read_number(sources, "/sys/devices/system/cpu/smt/active");
  if (!active) return skipped("smt", title, "the kernel does not say");
  if (*active == 0) return passed("smt", title, "off");
  return warned("smt", title, "on: boxes that run on two threads of one core can spy on each other",
                "for tenants that do not trust each other: echo off > "
                "/sys/devices/system/cpu/smt/control, or boot with nosmt");
}

Check check_vulnerabilities(const Sources& sources) {
  const char* title = "Processor vulnerabilities";
  std::string directory = sources.root + "/sys/devices/system/cpu/vulnerabilities";
  std::error_code missing;
  std::vector<std::string> open, known;
  for (const auto& entry : entries_of(directory, missing)) {
    std::string name = entry.path().filename().string();
    auto text = read_text(sources, "/sys/devices/system/cpu/vulnerabilities/" + name);
    if (!text) continue;
    known.push_back(name);
    if (text->starts_with("Vulnerable")) open.push_back(name);
  }
  if (known.empty()) return skipped("vulnerabilities", title, "the kernel does not list them");
  auto command_line = read_text(sources, "/proc/cmdline");
  if (command_line && has_word(*command_line, "mitigations=off"))
    return warned("vulnerabilities", title, "all mitigations are switched off (mitigations=off)",
                  "remove mitigations=off from the kernel's command line");
  if (open.empty())
    return passed(
        "vulnerabilities", title,
        std::to_string(known.size()) + " known, each mitigated or not affecting this one");
  std::sort(open.begin(), open.end());
  std::string names;
  for (const auto& name : open) names += (names.empty() ? "" : ", ") + name;
  return warned("vulnerabilities", title, "not mitigated: " + names,
                "install the latest kernel and microcode; where this is a virtual machine, its "
                "host has to be updated");
}

Check check_ksm(const Sources& sources) {
  const char* title = "Merging of equal memory pages (KSM)";
  auto run = read_number(sources, "/sys/kernel/mm/ksm/run");
  if (!run || *run == 0) return passed("ksm", title, run ? "off" : "not in this kernel");
  return warned("ksm", title, "on: a box can find out by timing which pages others hold",
                "echo 2 > /sys/kernel/mm/ksm/run");
}

Check check_swap(const Sources& sources) {
  const char* title = "Swap";
  auto text = read_text(sources, "/proc/swaps");
  if (!text) return skipped("swap", title, "/proc/swaps cannot be read");
  size_t count = lines_of(*text).size();
  if (count <= 1) return passed("swap", title, "none");
  return warned("swap", title,
                std::to_string(count - 1) +
                    " in use: memory of boxes, with whatever secrets it holds, may be written to "
                    "disk, and boxes become slow without warning",
                "swapoff -a, and remove swap from /etc/fstab; or encrypt it");
}

Check check_cgroups(const Sources& sources) {
  const char* title = "Control groups";
  const std::vector<std::string> wanted = {"cpu", "memory", "pids"};
  auto mounts = read_text(sources, "/proc/self/mountinfo");
  std::map<std::string, std::string> v2_controllers;
  for (const char* place : {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"}) {
    auto text = read_text(sources, std::string(place) + "/cgroup.controllers");
    if (text) v2_controllers[place] = *text;
  }
  auto found = jail::find_hierarchies(mounts.value_or(""), wanted, v2_controllers);
  std::string there, missing;
  for (const std::string& controller : wanted) {
    auto holds = std::find_if(found.begin(), found.end(), [&](const auto& hierarchy) {
      const auto& all = hierarchy.controllers;
      return std::find(all.begin(), all.end(), controller) != all.end();
    });
    std::string& list = holds == found.end() ? missing : there;
    list += (list.empty() ? "" : ", ") + controller;
    if (holds == found.end()) continue;
    there += holds->v2 ? " (v2)" : " (v1)";
    // Root, too, where a container has them read-only.
    std::string place = sources.root + holds->mount;
    if (controller == "cpu" && sources.user == 0 && ::access(place.c_str(), W_OK) < 0)
      return warned("cgroups", title,
                    place + " cannot be written to: tenants with many boxes get more of the "
                            "processors",
                    "in a container, ask for the control groups to be delegated");
  }
  if (!missing.empty())
    return warned("cgroups", title,
                  "without the controllers " + missing +
                      ": boxes run, but tenants are not kept to their shares",
                  "remove cgroup_disable= from the kernel's command line; in a container, ask for "
                  "the controllers to be delegated");
  return passed("cgroups", title, there);
}

Check check_huge_pages(const Sources& sources) {
  const char* title = "Transparent huge pages";
  auto text = read_text(sources, "/sys/kernel/mm/transparent_hugepage/enabled");
  if (!text) return skipped("huge_pages", title, "not in this kernel");
  std::string choice = chosen(*text);
  if (choice == "always")
    return warned("huge_pages", title,
                  "always: a box that touches a byte may take 2 MiB, so fewer boxes fit",
                  "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled");
  // The memory of templates is a file of this kind.
  auto shared = read_text(sources, "/sys/kernel/mm/transparent_hugepage/shmem_enabled");
  std::string of_files = shared ? chosen(*shared) : "never";
  if (of_files == "always" || of_files == "force")
    return warned("huge_pages", title,
                  of_files + " for memory that is shared: templates become larger than they are",
                  "echo advise > /sys/kernel/mm/transparent_hugepage/shmem_enabled");
  return passed("huge_pages", title, choice);
}

Check check_nested(const Sources& sources) {
  const char* title = "Virtual machines inside boxes";
  for (const char* module : {"kvm_intel", "kvm_amd"}) {
    auto nested = read_text(sources, std::string("/sys/module/") + module + "/parameters/nested");
    if (!nested) continue;
    if (*nested == "Y" || *nested == "1")
      return warned(
          "nested", title,
          std::string("allowed by ") + module + ": more of the kernel is within reach of a box",
          std::string("echo 'options ") + module +
              " nested=0' > /etc/modprobe.d/hako.conf, and reload the module");
    return passed("nested", title, "off");
  }
  return skipped("nested", title, "no hardware virtualisation module is loaded");
}

Check check_process_memory(const Sources& sources) {
  const char* title = "Memory of other processes (Yama)";
  auto scope = read_number(sources, "/proc/sys/kernel/yama/ptrace_scope");
  if (!scope) return passed("process_memory", title, "not restricted by Yama");
  if (*scope < 3)
    return passed("process_memory", title, "can be read by root (" + std::to_string(*scope) + ")");
  return warned("process_memory", title,
                "closed even to root: boxes run, but cannot be paused, snapshotted or forked",
                "set kernel.yama.ptrace_scope to 2 in /etc/sysctl.d, and boot again: the kernel "
                "does not take 3 back");
}

Check check_userfaultfd(const Sources& sources) {
  const char* title = "Page faults handled by users (userfaultfd)";
  auto allowed = read_number(sources, "/proc/sys/vm/unprivileged_userfaultfd");
  if (!allowed) return skipped("userfaultfd", title, "the kernel does not say");
  if (*allowed == 0) return passed("userfaultfd", title, "for privileged users only");
  return warned("userfaultfd", title, "open to everyone, which helps to exploit kernel bugs",
                "sysctl vm.unprivileged_userfaultfd=0");
}

Check check_mounts(const Sources& sources) {
  const char* title = "Mounted file systems";
  auto text = read_text(sources, "/proc/self/mounts");
  if (!text) return skipped("mounts", title, "cannot be listed");
  size_t count = lines_of(*text).size();
  if (count > 500)
    return warned("mounts", title,
                  std::to_string(count) + ": each new namespace copies them, so boxes start slowly",
                  "unmount what is not needed (findmnt lists it)");
  return passed("mounts", title, std::to_string(count));
}

Check check_user_namespaces(const Sources& sources) {
  const char* title = "User namespaces";
  auto most = read_number(sources, "/proc/sys/user/max_user_namespaces");
  if (!most || *most == 0)
    return warned("user-namespaces", title,
                  "none can be made: VMMs stand behind one wall less, and images cannot be pulled",
                  "sysctl user.max_user_namespaces=65536");
  auto unprivileged = read_number(sources, "/proc/sys/kernel/unprivileged_userns_clone");
  if (unprivileged && *unprivileged == 0)
    return warned("user-namespaces", title, "only root makes them: images cannot be pulled",
                  "sysctl kernel.unprivileged_userns_clone=1, or import images instead");
  return passed("user-namespaces", title, "for VMMs and pulls");
}

Check check_limits(const config::Config& config, const Sources& sources) {
  const char* title = "Processes and open files";
  rlimit files{};
  ::getrlimit(RLIMIT_NOFILE, &files);
  // A box holds some 30 descriptors in the node and the gate, and about 8 tasks.
  auto needed = static_cast<uint64_t>(config.max_boxes) * 40 + 1024;
  if (files.rlim_max < needed)
    return warned("limits", title,
                  "at most " + std::to_string(files.rlim_max) + " open files; " +
                      std::to_string(config.max_boxes) + " boxes want " + std::to_string(needed),
                  "raise LimitNOFILE= in the unit, or ulimit -Hn");
  auto most = read_number(sources, "/proc/sys/kernel/pid_max");
  if (most && *most < config.max_boxes * 10 + 4096)
    return warned("limits", title, "process numbers end at " + std::to_string(*most),
                  "sysctl kernel.pid_max=4194304");
  auto threads = read_number(sources, "/proc/sys/kernel/threads-max");
  if (threads && *threads < config.max_boxes * 10 + 4096)
    return warned("limits", title, "at most " + std::to_string(*threads) + " threads",
                  "sysctl kernel.threads-max=" + std::to_string(config.max_boxes * 10 + 4096));
  return passed("limits", title, std::to_string(files.rlim_max) + " open files");
}

Check check_memory(const config::Config& config, const Sources& sources) {
  const char* title = "Memory";
  auto text = read_text(sources, "/proc/meminfo");
  int64_t available_kib = -1;
  if (text)
    for (const auto& line : lines_of(*text))
      if (line.starts_with("MemAvailable:"))
        available_kib = std::strtoll(line.c_str() + 13, nullptr, 10);
  if (available_kib < 0) return skipped("memory", title, "/proc/meminfo cannot be read");
  int64_t mib = available_kib / 1024;
  int64_t needed = config.min_free_memory_mib + config.memory_mib;
  if (mib < needed)
    return failed("memory", title, std::to_string(mib) + " MiB are free",
                  "one box of " + std::to_string(config.memory_mib) + " MiB needs " +
                      std::to_string(needed) +
                      " MiB: end other programs, or lower [template] memory_mib");
  return passed("memory", title, std::to_string(mib) + " MiB are free");
}

}  // namespace hako::doctor
