// How programs in a box learn that it is another machine now: a number that has become higher.
#pragma once

#include <cstdint>
#include <optional>

#include "base/result.h"

namespace hako::guest {

/// Holds the number, as text with a line feed. Written in place, so that inotify on it goes on
/// telling of changes.
inline constexpr char kGenerationFile[] = "/run/hako/generation";
/// This program under another name, for programs in the box: see wait_generation().
inline constexpr char kWaitProgram[] = "/run/hako/wait-generation";

/// Writes the number down. Each is at least as high as the one before: a reader never sees half of
/// it, as it gets no shorter.
Result<void> tell_generation(int64_t generation, const char* file = kGenerationFile);

/// Waits, without looking again and again, until the number is another than `known` (as it is now,
/// if there is none): the number. Blocking.
Result<int64_t> wait_for_generation(std::optional<int64_t> known,
                                    const char* file = kGenerationFile);

/// What `wait-generation [KNOWN]` does: waits as above and prints the number. Its exit status.
int wait_generation(int argc, char** argv);

}  // namespace hako::guest
