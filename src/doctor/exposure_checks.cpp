// What the host's processor and kernel let out, or let a guest do to others.
#include <algorithm>
#include <set>
#include <sstream>

#include "base/folder.h"
#include "doctor/sources.h"

namespace hako::doctor {
namespace {

constexpr const char* kKvmParameters = "/sys/module/kvm/parameters/";

/// The values of one field of /proc/cpuinfo, over all processors.
std::set<std::string> cpu_field(const std::string& text, std::string_view name) {
  std::set<std::string> values;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    size_t colon = line.find(':');
    if (colon == std::string::npos || !line.starts_with(name)) continue;
    if (line.find_first_not_of(" \t", name.size()) != colon) continue;
    size_t begin = line.find_first_not_of(' ', colon + 1);
    values.insert(begin == std::string::npos ? "" : line.substr(begin));
  }
  return values;
}

bool names(const std::set<std::string>& values, std::string_view word) {
  return std::any_of(values.begin(), values.end(), [&](const std::string& value) {
    return (" " + value + " ").find(" " + std::string(word) + " ") != std::string::npos;
  });
}

}  // namespace

Check check_microcode(const Sources& sources) {
  const char* title = "Microcode of the processor";
  auto text = read_text(sources, "/proc/cpuinfo");
  if (!text) return skipped("microcode", title, "/proc/cpuinfo cannot be read");
  if (names(cpu_field(*text, "flags"), "hypervisor"))
    return skipped("microcode", title, "this is a virtual machine: its host's is what counts");
  auto versions = cpu_field(*text, "microcode");
  bool amd = cpu_field(*text, "vendor_id").contains("AuthenticAMD");
  std::string package = amd ? "amd64-microcode" : "intel-microcode";
  if (versions.empty()) return skipped("microcode", title, "the kernel does not say");
  if (versions.size() > 1)
    return warned("microcode", title, "not the same on all processors: an update went half-way",
                  "apt-get install --reinstall " + package + " && reboot");
  if (*versions.begin() == "0x0")
    return warned("microcode", title, "none was ever loaded",
                  "apt-get install " + package + " && reboot");
  return passed("microcode", title, *versions.begin());
}

Check check_nx_huge_pages(const Sources& sources) {
  const char* title = "Huge pages of guest code (iTLB multihit)";
  auto state = read_text(sources, "/sys/devices/system/cpu/vulnerabilities/itlb_multihit");
  if (!state) return skipped("nx_huge_pages", title, "the kernel does not say");
  if (state->starts_with("Not affected") || state->starts_with("Processor vulnerable: no KVM"))
    return passed("nx_huge_pages", title, "this processor is not affected");
  auto setting = read_text(sources, std::string(kKvmParameters) + "nx_huge_pages");
  if (!setting) return skipped("nx_huge_pages", title, "the module kvm is not loaded");
  if (*setting == "Y" || *setting == "1" || *setting == "auto" || *setting == "force")
    return passed("nx_huge_pages", title, "none can be executed");
  return warned("nx_huge_pages", title,
                *setting + ": a guest can stop the whole machine with a machine check",
                "echo auto > /sys/module/kvm/parameters/nx_huge_pages");
}

Check check_kvm_timer(const Sources& sources) {
  const char* title = "Shortest period of a guest's timer";
  auto shortest = read_number(sources, std::string(kKvmParameters) + "min_timer_period_us");
  if (!shortest) return skipped("kvm_timer", title, "the module kvm is not loaded");
  std::string text = std::to_string(*shortest) + " microseconds";
  if (*shortest >= 100) return passed("kvm_timer", title, text);
  return warned("kvm_timer", title, text + ": a guest can keep a processor busy with its timers",
                "echo 'options kvm min_timer_period_us=200' > /etc/modprobe.d/hako-kvm.conf, and "
                "reload the module");
}

Check check_console(const Sources& sources) {
  const char* title = "Kernel messages on the console";
  // The first number is the level below which messages are printed there.
  auto level = read_number(sources, "/proc/sys/kernel/printk");
  if (!level) return skipped("console", title, "the kernel does not say");
  std::string text = "up to level " + std::to_string(*level - 1);
  if (*level <= 5) return passed("console", title, text);
  return warned("console", title,
                text + ": what a box can provoke is written to a slow console, and holds others up",
                "sysctl kernel.printk='1 4 1 7', and 'quiet loglevel=1' on the kernel's command "
                "line");
}

Check check_memory_errors(const Sources& sources) {
  const char* title = "Memory that corrects errors (ECC)";
  std::string directory = "/sys/devices/system/edac/mc";
  std::error_code missing;
  int controllers = 0;
  int64_t uncorrected = 0;
  for (const auto& entry : entries_of(sources.root + directory, missing)) {
    auto count = read_number(
        sources, directory + "/" + entry.path().filename().string() + "/ue_count");
    if (!count) continue;
    ++controllers;
    uncorrected += *count;
  }
  if (controllers == 0)
    return skipped("memory_errors", title,
                   "none is seen: without it a box may flip bits of others (Rowhammer)");
  if (uncorrected > 0)
    return warned("memory_errors", title,
                  std::to_string(uncorrected) + " errors could not be corrected since the start",
                  "find the module (edac-util -v) and replace it");
  return passed("memory_errors", title, "is there, and saw nothing it could not correct");
}

Check check_core_dumps(const Sources& sources) {
  const char* title = "Core dumps";
  auto pattern = read_text(sources, "/proc/sys/kernel/core_pattern");
  if (!pattern) return skipped("core_dumps", title, "the kernel does not say");
  if (!pattern->starts_with("|"))
    return passed("core_dumps", title, "to files, which virtual machines may not write");
  return warned("core_dumps", title,
                "handed to " + pattern->substr(1, pattern->find(' ') - 1) +
                    ", which gets the memory of a box whose virtual machine crashes, whatever "
                    "limit that has",
                "sysctl kernel.core_pattern=core");
}

Check check_cgroup_moves(const Sources& sources, bool hardware) {
  const char* title = "Moving processes between control groups";
  if (!hardware) return skipped("cgroup_moves", title, "matters where boxes run under KVM");
  auto mounts = read_text(sources, "/proc/self/mountinfo");
  if (!mounts) return skipped("cgroup_moves", title, "mounts cannot be listed");
  std::istringstream lines(*mounts);
  std::string found;
  for (std::string line; std::getline(lines, line);) {
    size_t type = line.find(" - cgroup2 ");
    if (type == std::string::npos) continue;
    if (line.find("favordynmods", type) != std::string::npos)
      return passed("cgroup_moves", title, "quick (favordynmods)");
    std::istringstream words(line);
    std::string skip;
    words >> skip >> skip >> skip >> skip >> found;
  }
  if (found.empty()) return skipped("cgroup_moves", title, "no cgroup v2 is mounted");
  return warned("cgroup_moves", title,
                "each waits for all processors, which makes new machines under KVM slower",
                "mount -o remount,favordynmods " + found);
}

}  // namespace hako::doctor
