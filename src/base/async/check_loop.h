// Whether an event loop works.
#pragma once

#include <boost/asio/io_context.hpp>

#include "base/async/task.h"
#include "base/result.h"

namespace hako {

/// Whether the kernel watches a new loop's timers and its wake-up, by what /proc says of it. Asio does
/// not say where that was refused, for want of memory as the loop was made: a process of such a loop
/// stands still for good. Call it before the process has other loops, and while it sees /proc.
/// Errors: unavailable; those of reading.
Result<void> check_loop(asio::io_context& loop);

}  // namespace hako
