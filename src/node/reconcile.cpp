#include "node/reconcile.h"

#include <filesystem>

#include "base/log.h"
#include "base/unfinished.h"
#include "node/shares.h"
#include "node/traces.h"

namespace hako::node {
namespace {

namespace fs = std::filesystem;

Result<bool> runs(const engine::MachineRecord& vmm) {
  if (vmm.pid <= 0) return false;
  auto start = process_start_time(vmm.pid);
  if (!start && start.error().code() != ErrorCode::not_found) return start.error();
  return start && start.value() == vmm.start_time;
}

/// The boxes among the machines that were written down, if their VMM still runs.
Result<std::vector<VmRecord>> living_boxes(const std::string& vm_dir, const Traces& traces) {
  std::vector<VmRecord> boxes;
  for (const std::string& folder : traces.folders) {
    auto text = read_file(vm_dir + "/" + folder + "/record.json", kLargestRecord);
    if (!text && text.error().code() == ErrorCode::not_found) continue;
    if (!text && text.error().code() != ErrorCode::too_large) return text.error();
    auto record = text ? parse_record(text.value()) : Result<VmRecord>(text.error());
    // What is wrong with one machine must not keep the others from being found.
    if (!record)
      log_error("machine_not_read", {{"machine", folder}, {"error", record.error().message()}});
    if (!record || record.value().state != VmState::box) continue;
    HAKO_TRY(bool running, runs(record.value().vmm));
    if (running) boxes.push_back(std::move(record).value());
  }
  // Where a box had moved to another machine, the one that it left may still have been there.
  std::set<std::string> left;
  for (const VmRecord& box : boxes) left.insert(box.replaces);
  std::erase_if(boxes, [&](const VmRecord& box) { return left.contains(box.machine); });
  return boxes;
}

}  // namespace

Result<Leftovers> sweep(const config::Config& config, bool keep_boxes) {
  std::string vm_dir = config.state_dir + "/node/vms";
  HAKO_TRY(auto traces, find_traces(config));
  Leftovers left;
  if (keep_boxes) {
    HAKO_TRY(left.boxes, living_boxes(vm_dir, traces));
  }
  std::set<pid_t> kept_pids;
  std::set<std::string> kept_machines;
  for (const VmRecord& box : left.boxes) {
    kept_pids.insert(box.vmm.pid);
    kept_machines.insert(box.machine);
    left.slots.insert(box.slot);
    remove_unfinished(vm_dir + "/" + box.machine + "/record.json");
  }

  int killed = 0;
  for (const VmmProcess& process : traces.processes) {
    if (kept_pids.contains(process.pid)) continue;
    kill_vmm(config, process);
    ++killed;
  }
  int files = 0;
  std::error_code error;
  for (const std::string& folder : traces.folders) {
    if (kept_machines.contains(folder)) continue;
    fs::remove_all(vm_dir + "/" + folder, error);
    ++files;
  }
  for (const std::string& socket : traces.sockets)
    if (!kept_machines.contains(socket)) fs::remove_all(config.run_dir + "/vmm/" + socket, error);
  for (const std::string& path : traces.unfinished) fs::remove_all(path, error);

  int slots = 0;
  for (int number : traces.slots) {
    if (left.slots.contains(number)) continue;
    auto removed = network::destroy_slot(config.run_dir + "/netns", number);
    if (!removed)
      log_error("slot_not_removed", {{"slot", number}, {"error", removed.error().message()}});
    ++slots;
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
