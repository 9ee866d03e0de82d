// The time as records have it.
#pragma once

#include <cstdint>

#include "base/clock.h"

namespace hako::api {

/// Unix milliseconds, now.
inline int64_t unix_now_ms() {
  return to_unix_ms(WallClock::now());
}

}  // namespace hako::api
