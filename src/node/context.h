// What every part of the node works with.
#pragma once

#include <map>
#include <set>

#include "base/async/task_group.h"
#include "config/config.h"
#include "engine/engine.h"
#include "node/gate_link.h"
#include "node/shares.h"
#include "node/slot_pool.h"

namespace hako::node {

class Vm;

/// Wired once in node.cpp; all references outlive every user.
struct Context {
  asio::any_io_executor executor;
  asio::thread_pool& blocking;  ///< for calls that block: files, namespaces
  const config::Config& config;
  engine::Engine& engine;
  SlotPool& slots;
  GateLink& gate;
  Shares& shares;
  int empty_netns = -1;  ///< the VMMs' own network namespace: empty
  /// Names of root file systems that template builds work on, in root_dir(); kept by them.
  std::set<std::string> roots_in_use = {};
  /// 32 bytes: checkpoints, and what they stand on, are encrypted with it. None: they are in clear.
  std::optional<std::string> checkpoint_key = {};
  std::map<std::string, Vm*> machines = {};  ///< every Vm there is, by machine id; kept by Vm

  std::string vm_dir() const { return config.state_dir + "/node/vms"; }
  std::string snapshot_dir() const { return config.state_dir + "/node/snapshots"; }
  std::string template_dir() const { return config.state_dir + "/node/templates"; }
  std::string root_dir() const { return config.state_dir + "/node/roots"; }
  std::string layer_dir() const { return config.state_dir + "/node/layers"; }
  std::string checkpoint_dir() const { return config.state_dir + "/node/checkpoints"; }
  /// Snapshots that checkpoints stand on.
  std::string base_dir() const { return config.state_dir + "/node/bases"; }
  std::string control_dir() const { return config.run_dir + "/vmm"; }
};

}  // namespace hako::node
