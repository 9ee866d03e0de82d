#include "node/traces.h"

#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

// glibc 2.36 forgot to declare these with C linkage.
extern "C" {
#include <sys/pidfd.h>
}

#include <charconv>
#include <filesystem>
#include <optional>

#include "base/folder.h"
#include "network/slot.h"

namespace hako::node {
namespace {

namespace fs = std::filesystem;

constexpr int kKillWaitMs = 10'000;
/// Uids that the configuration keeps free behind one for each box: spare slots, and boxes of a run
/// whose limit was higher. config::load() refuses other users of these.
constexpr uint32_t kSpareUids = 4096;

/// The slot whose uid the process has; nothing if it has none of ours. Read from its status: the
/// owner of its folder in /proc is root for a process that changed its uid.
std::optional<int> slot_of(const config::Config& config, pid_t pid) {
  auto status = read_file("/proc/" + std::to_string(pid) + "/status");
  if (!status) return std::nullopt;
  constexpr std::string_view kName = "\nUid:\t";
  size_t position = status.value().find(kName);
  if (position == std::string::npos) return std::nullopt;
  const char* text = status.value().data();
  uint32_t uid = 0;
  std::from_chars(text + position + kName.size(), text + status.value().size(), uid);
  uint32_t end = config.vmm_uid_base + static_cast<uint32_t>(config.max_boxes) + kSpareUids;
  if (uid < config.vmm_uid_base || uid >= end) return std::nullopt;
  return static_cast<int>(uid - config.vmm_uid_base);
}

}  // namespace

Result<Traces> find_traces(const config::Config& config) {
  Traces traces;
  HAKO_TRY(auto processes, names_in("/proc"));
  for (const std::string& name : processes) {
    pid_t pid = 0;
    auto [end, problem] = std::from_chars(name.data(), name.data() + name.size(), pid);
    if (problem != std::errc() || end != name.data() + name.size()) continue;
    if (auto slot = slot_of(config, pid)) traces.processes.push_back({pid, *slot});
  }
  HAKO_TRY(traces.folders, names_in(config.state_dir + "/node/vms"));
  HAKO_TRY(traces.sockets, names_in(config.run_dir + "/vmm"));
  HAKO_TRY(traces.slots, network::list_slots(config.run_dir + "/netns"));
  for (const char* folder : {"snapshots", "templates", "roots", "layers", "checkpoints", "bases"}) {
    std::string path = config.state_dir + "/node/" + folder;
    HAKO_TRY(auto names, names_in(path));
    for (const std::string& name : names)
      if (name.starts_with(".")) traces.unfinished.push_back(path + "/" + name);
  }
  return traces;
}

bool is_vmm(const config::Config& config, const VmmProcess& process) {
  return slot_of(config, process.pid) == process.slot;
}

void kill_vmm(const config::Config& config, const VmmProcess& process) {
  Fd pidfd(::pidfd_open(process.pid, 0));
  // Asked once the pidfd holds on to the process, so that a pid reused in between is left alone.
  if (!pidfd || !is_vmm(config, process)) return;
  ::pidfd_send_signal(pidfd.get(), SIGKILL, nullptr, 0);
  pollfd wait{pidfd.get(), POLLIN, 0};
  ::poll(&wait, 1, kKillWaitMs);
  // One that we have started and lost sight of is ours to reap; others are not, and stay.
  siginfo_t ended{};
  ::waitid(P_PIDFD, static_cast<id_t>(pidfd.get()), &ended, WEXITED | WNOHANG);
}

}  // namespace hako::node
