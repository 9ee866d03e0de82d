// What a restored machine depends on in its host.
#pragma once

#include <cstdint>
#include <string>

#include "base/async/task.h"

namespace hako::engine {

/// The rate of the time-stamp counter in kHz, measured for 50 ms against the raw clock; good to
/// some ten parts per million.
Task<int64_t> measure_tsc_khz();

/// Model, family, stepping and microcode of the first processor, in one line. "unknown" without
/// /proc.
std::string host_cpu();

/// The same from the text of a cpuinfo file.
std::string host_cpu_from(const std::string& cpuinfo);

/// Names one build of a VMM: what `binary --version` says first, with size and time of the file.
/// Errors: not_found, unsupported (it runs but says nothing of use), timed_out.
Task<Result<std::string>> read_vmm_build(std::string binary);

}  // namespace hako::engine
