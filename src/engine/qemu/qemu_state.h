// The stream in which QEMU writes and reads the state of a machine's devices.
#pragma once

#include <boost/json.hpp>

#include <string>
#include <utility>

#include "base/async/task.h"
#include "base/fd.h"

namespace hako::engine {

/// Some tens of kilobytes in practice; memory is not in it.
inline constexpr size_t kMaxDeviceState = 1 << 20;

/// Arguments of migrate-set-capabilities, equal at both ends: shared memory stays where it is, and
/// progress comes as events.
boost::json::object migration_capabilities();

/// Reading and writing end.
Result<std::pair<Fd, Fd>> make_pipe();

/// A pipe that holds all of `state` and then ends. Errors: too_large,
/// corrupted (empty), resource_exhausted.
Result<Fd> make_state_source(const std::string& state);

/// Reads until the other end closes. Errors: too_large. Cancel: safe.
Task<Result<std::string>> drain_state(Fd pipe);

}  // namespace hako::engine
