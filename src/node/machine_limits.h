// What one machine, its VMM included, may take of the host: from the configuration to the kernel's
// and the VMM's own terms.
#pragma once

#include <string>

#include "config/config.h"
#include "engine/engine.h"
#include "jail/cgroup.h"
#include "network/slot.h"

namespace hako::node {

/// Of the control group of one machine. `disk`: block_device_of() the folder its disk is in; empty:
/// there is none to hold to a rate. Pure.
jail::CgroupLimits limits_of_machine(const config::Config& config, const engine::MachineSize& size,
                                     const std::string& disk);
/// Of the group of all machines; `host_bytes`: the host's memory. Pure.
jail::CgroupLimits limits_of_all(const config::Config& config, int64_t host_bytes);
/// What the VMM itself holds its guest's disk to. Pure.
engine::DiskRate disk_rate(const config::Config& config);
/// What a slot lets its guest send. Pure.
network::SlotLimits slot_limits(const config::Config& config);

/// "8:0": the whole disk that the file system of `path` is on. not_found where it is on none: tmpfs,
/// overlays, btrfs.
Result<std::string> block_device_of(const std::string& path);
Result<int64_t> host_memory_bytes();

}  // namespace hako::node
