#include "node/reconcile.h"

#include <poll.h>
#include <signal.h>
#include <unistd.h>

// glibc 2.36 forgot to declare these with C linkage.
extern "C" {
#include <sys/pidfd.h>
}

#include <charconv>
#include <filesystem>

#include "base/log.h"
#include "node/shares.h"

namespace hako::node {
namespace {

namespace fs = std::filesystem;

constexpr int kKillWaitMs = 10'000;
/// Uids that the configuration keeps free behind one for each box: spare slots, and boxes of a run
/// whose limit was higher. config::load() refuses other users of these.
constexpr uint32_t kSpareUids = 4096;

/// Kills one process and waits for its end. `still_ours` is asked once a pidfd holds on to the
/// process, so that a pid reused in between is left alone.
void kill_process(pid_t pid, const std::function<bool()>& still_ours) {
  Fd pidfd(::pidfd_open(pid, 0));
  if (!pidfd || !still_ours()) return;
  ::pidfd_send_signal(pidfd.get(), SIGKILL, nullptr, 0);
  pollfd wait{pidfd.get(), POLLIN, 0};
  ::poll(&wait, 1, kKillWaitMs);
}

bool runs(const engine::MachineRecord& vmm) {
  if (vmm.pid <= 0) return false;
  auto start = process_start_time(vmm.pid);
  return start && start.value() == vmm.start_time;
}

/// Whether the process runs under one of the VMMs' uids. Read from its status: the owner of its
/// folder in /proc is root for a process that changed its uid.
bool is_vmm(const config::Config& config, pid_t pid) {
  auto status = read_file("/proc/" + std::to_string(pid) + "/status");
  if (!status) return false;
  constexpr std::string_view kName = "\nUid:\t";
  size_t position = status.value().find(kName);
  if (position == std::string::npos) return false;
  const char* text = status.value().data();
  uint32_t uid = 0;
  std::from_chars(text + position + kName.size(), text + status.value().size(), uid);
  uint32_t end = config.vmm_uid_base + static_cast<uint32_t>(config.max_boxes) + kSpareUids;
  return uid >= config.vmm_uid_base && uid < end;
}

/// Every process that runs under one of the VMMs' uids.
std::vector<pid_t> vmm_processes(const config::Config& config) {
  std::vector<pid_t> pids;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator("/proc", error)) {
    std::string name = entry.path().filename();
    pid_t pid = 0;
    auto [end, problem] = std::from_chars(name.data(), name.data() + name.size(), pid);
    if (problem != std::errc() || end != name.data() + name.size()) continue;
    if (is_vmm(config, pid)) pids.push_back(pid);
  }
  return pids;
}

}  // namespace

Result<Leftovers> sweep(const config::Config& config, bool keep_boxes) {
  std::string vm_dir = config.state_dir + "/node/vms";
  std::string control_dir = config.run_dir + "/vmm";
  std::string slot_dir = config.run_dir + "/netns";
  Leftovers left;
  std::set<pid_t> kept_pids;
  std::set<std::string> kept_machines;
  std::error_code error;

  for (const auto& entry : fs::directory_iterator(vm_dir, error)) {
    auto text = read_file(entry.path().string() + "/record.json");
    auto record = text ? parse_record(text.value()) : Result<VmRecord>(text.error());
    bool keep =
        keep_boxes && record && record.value().state == VmState::box && runs(record.value().vmm);
    if (!keep) continue;
    kept_pids.insert(record.value().vmm.pid);
    kept_machines.insert(record.value().machine);
    left.slots.insert(record.value().slot);
    left.boxes.push_back(std::move(record).value());
  }

  int killed = 0;
  for (pid_t pid : vmm_processes(config)) {
    if (kept_pids.contains(pid)) continue;
    kill_process(pid, [&] { return is_vmm(config, pid); });
    ++killed;
  }

  int files = 0;
  for (const auto& entry : fs::directory_iterator(vm_dir, error)) {
    if (kept_machines.contains(entry.path().filename())) continue;
    fs::remove_all(entry.path(), error);
    ++files;
  }
  for (const auto& entry : fs::directory_iterator(control_dir, error))
    if (!kept_machines.contains(entry.path().filename())) fs::remove(entry.path(), error);
  // Snapshots and templates are whole once they have their name; names with a dot are of a making
  // that was cut short.
  for (const char* folder : {"snapshots", "templates", "roots", "layers"}) {
    for (const auto& entry : fs::directory_iterator(config.state_dir + "/node/" + folder, error)) {
      std::string name = entry.path().filename();
      if (name.starts_with(".")) fs::remove_all(entry.path(), error);
    }
  }

  int slots = 0;
  if (auto numbers = network::list_slots(slot_dir)) {
    for (int number : numbers.value()) {
      if (left.slots.contains(number)) continue;
      auto removed = network::destroy_slot(slot_dir, number);
      if (!removed)
        log_error("slot_not_removed", {{"slot", number}, {"error", removed.error().message()}});
      ++slots;
    }
  }
  int shares = sweep_shares(config, kept_machines);
  if (killed + files + slots + shares > 0)
    log_info("swept", {{"processes", killed},
                       {"folders", files},
                       {"slots", slots},
                       {"shares", shares}});
  return left;
}

}  // namespace hako::node
