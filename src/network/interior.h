// What stands inside a slot's namespace. Every function works on the calling thread's namespace.
#pragma once

#include "network/slot.h"

namespace hako::network {

/// Everything that create_slot() promises, in order.
Result<void> furnish_namespace(const SlotLimits& limits);
/// Makes the walls of a furnished namespace those of this version.
Result<void> mend_namespace(const SlotLimits& limits);
/// Attaches to the tap that is there. not_found if there is none; failed_precondition if another
/// has it open.
Result<Fd> attach_tap();
Result<SlotInspection> inspect_namespace(const SlotLimits& limits);

}  // namespace hako::network
