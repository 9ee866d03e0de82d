// How much the host has left.
#pragma once

#include <string>

#include "base/result.h"
#include "config/config.h"

namespace hako::node {

/// MemAvailable, MiB.
Result<int64_t> available_memory_mib();

/// Whether another machine may be made: below [limits] min_free_disk_mib and min_free_memory_mib
/// none is, so that what runs already does not suffer. no_capacity.
Result<void> check_host_room(const config::Config& config);

}  // namespace hako::node
