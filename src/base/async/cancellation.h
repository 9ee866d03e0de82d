// What a task that was cancelled ends with.
#pragma once

#include <exception>

namespace hako {

/// Whether `fault`, which is not null, is that of a cancellation. Parallel waits that are cancelled
/// together arrive as several exceptions in one.
bool is_cancellation(const std::exception_ptr& fault);

}  // namespace hako
