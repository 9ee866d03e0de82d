// In the place of src/jail/walls.cpp: a jail whose walls can be taken away.
#pragma once

#include <set>

#include "jail/jail.h"
#include "jail/walls.h"

namespace hako::testing_support {

/// launch_vmm() without the steps of `left_out`. From one thread at a time.
Result<Process> launch_vmm_without(const std::set<jail::Wall>& left_out,
                                   asio::any_io_executor executor, const ProcessSpec& spec,
                                   const jail::VmmJail& jail);

}  // namespace hako::testing_support
