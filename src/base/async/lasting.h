// Tasks that are there as long as their owner is.
#pragma once

#include <functional>
#include <string>

#include "base/async/task.h"

namespace hako {

/// Runs what `make` makes, for a TaskGroup to own. An exception that leaves it is logged under
/// `name`, and a second later it is made and run anew: what keeps something going must not stop for
/// good because a descriptor or memory was short for a moment. Ends with a task that returns, or
/// when it is cancelled.
Task<void> lasting(std::string name, std::function<Task<void>()> make);

/// Runs a task without which this process is of no use: an exception that leaves it is logged, and
/// ends the process at once, as a kill would. For where somebody starts it again.
Task<void> vital(std::string name, Task<void> task);

}  // namespace hako
