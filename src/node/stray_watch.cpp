#include "node/stray_watch.h"

#include <sys/stat.h>

#include <algorithm>
#include <filesystem>

#include "base/log.h"
#include "node/vm.h"

namespace hako::node {
namespace {

namespace fs = std::filesystem;

/// Nobody has written to it for so long. Blocking.
bool is_abandoned(const std::string& path) {
  struct stat info {};
  if (::lstat(path.c_str(), &info) < 0) return false;
  auto age = WallClock::now() - std::chrono::system_clock::from_time_t(info.st_mtime);
  return age > StrayWatch::kAbandoned;
}

/// What is in both.
Traces in_both(const Traces& a, const Traces& b) {
  auto names = [](const std::set<std::string>& left, const std::set<std::string>& right) {
    std::set<std::string> both;
    std::set_intersection(left.begin(), left.end(), right.begin(), right.end(),
                          std::inserter(both, both.end()));
    return both;
  };
  auto items = [](const auto& left, const auto& right) {
    std::decay_t<decltype(left)> both;
    for (const auto& each : left)
      if (std::ranges::find(right, each) != right.end()) both.push_back(each);
    return both;
  };
  Traces both;
  both.processes = items(a.processes, b.processes);
  both.folders = names(a.folders, b.folders);
  both.sockets = names(a.sockets, b.sockets);
  both.slots = items(a.slots, b.slots);
  both.unfinished = items(a.unfinished, b.unfinished);
  return both;
}

bool empty(const Traces& traces) {
  return traces.processes.empty() && traces.folders.empty() && traces.sockets.empty() &&
         traces.slots.empty() && traces.unfinished.empty();
}

}  // namespace

Task<void> StrayWatch::run() {
  for (;;) {
    co_await sleep_for(kLookEvery);
    co_await look();
    co_await sweep_shares_of_nobody();
  }
}

Task<void> StrayWatch::sweep_shares_of_nobody() {
  std::set<std::string> machines;
  for (const auto& [machine, vm] : context_.machines) machines.insert(machine);
  auto work = [&shares = context_.shares, machines = std::move(machines)] {
    return shares.sweep(machines);
  };
  int removed = co_await run_blocking(context_.blocking, work);
  if (removed > 0) log_warn("strays_removed", {{"shares", removed}});
}

Task<void> StrayWatch::look() {
  auto see = [&config = context_.config]() -> Result<Traces> {
    HAKO_TRY(auto traces, find_traces(config));
    std::erase_if(traces.unfinished, [](const std::string& path) { return !is_abandoned(path); });
    return traces;
  };
  auto traces = co_await run_blocking(context_.blocking, see);
  if (!traces) co_return;  // the next look may be luckier
  Traces ownerless = without_owner(std::move(traces).value());
  Traces strays = in_both(ownerless, suspects_);
  suspects_ = std::move(ownerless);
  if (!empty(strays)) co_await remove(std::move(strays));
}

std::set<int> StrayWatch::slots_of_machines() const {
  std::set<int> slots;
  for (const auto& [machine, vm] : context_.machines) slots.insert(vm->record().slot);
  return slots;
}

Traces StrayWatch::without_owner(Traces traces) const {
  std::set<int> slots = slots_of_machines();
  std::set<pid_t> pids;
  std::set<int> launching;  // slots of machines whose VMM has no pid that we know yet
  for (const auto& [machine, vm] : context_.machines) {
    const VmRecord& record = vm->record();
    if (record.vmm.pid > 0)
      pids.insert(record.vmm.pid);
    else
      launching.insert(record.slot);
  }
  std::erase_if(traces.processes, [&](const VmmProcess& process) {
    return pids.contains(process.pid) || launching.contains(process.slot);
  });
  auto known = [&](const std::string& machine) { return context_.machines.contains(machine); };
  std::erase_if(traces.folders, known);
  std::erase_if(traces.sockets, known);
  std::erase_if(traces.slots, [&](int slot) {
    return slots.contains(slot) || context_.slots.is_ours(slot);
  });
  return traces;
}

Task<void> StrayWatch::remove(Traces strays) {
  boost::json::object fields;
  fields["processes"] = strays.processes.size();
  fields["folders"] = strays.folders.size();
  fields["sockets"] = strays.sockets.size();
  fields["slots"] = strays.slots.size();
  fields["files"] = strays.unfinished.size();
  log_warn("strays_removed", std::move(fields));
  for (int slot : strays.slots)
    if (!slots_of_machines().contains(slot)) co_await context_.slots.remove_stray(slot);
  auto work = [&config = context_.config, strays = std::move(strays)] {
    for (const VmmProcess& process : strays.processes) kill_vmm(config, process);
    std::error_code error;
    for (const std::string& name : strays.folders)
      fs::remove_all(config.state_dir + "/node/vms/" + name, error);
    for (const std::string& name : strays.sockets)
      fs::remove_all(config.run_dir + "/vmm/" + name, error);
    for (const std::string& path : strays.unfinished) fs::remove_all(path, error);
    return true;
  };
  (void)co_await run_blocking(context_.blocking, work);
}

}  // namespace hako::node
