// How much the host has left.
#pragma once

#include <string>

#include "base/result.h"

namespace hako::node {

/// Free space for root on the file system of `path`, MiB.
Result<int64_t> free_disk_mib(const std::string& path);
/// MemAvailable, MiB.
Result<int64_t> available_memory_mib();

}  // namespace hako::node
