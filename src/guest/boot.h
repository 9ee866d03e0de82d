// What PID 1 of a box does before and after it serves: from the initial ramdisk to a running
// machine, and down again.
#pragma once

#include "base/result.h"

namespace hako::guest {

/// Mounts, modules, disks, the root file system, network and names, in that order. Blocking.
/// Any error means that the machine is of no use.
Result<void> boot();

/// Ends all other processes, writes everything to disk and turns the machine off. Blocking; does
/// not return.
[[noreturn]] void power_off();

/// Says why on the console and lets the kernel panic, which ends the machine.
[[noreturn]] void die(const Error& error);

}  // namespace hako::guest
