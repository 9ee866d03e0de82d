// Whether an event loop works.
#pragma once

#include <boost/asio/io_context.hpp>

#include "base/async/task.h"
#include "base/result.h"

namespace hako {

/// Tries a new loop's timers, and whether another thread can wake it. Asio does not say where the
/// kernel has refused to watch its timers or its wake-up: a process of such a loop stands still for
/// good. Takes some milliseconds where it works. Thread: the loop's; nothing else may run on it yet.
/// Errors: unavailable.
Result<void> check_loop(asio::io_context& loop);

}  // namespace hako
