// The state of a machine's devices, as QEMU writes and reads it, and that of the machine.
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

/// The run state in an answer to query-status. Errors: corrupted.
Result<std::string> status_in(const boost::json::value& answer);

/// Reading and writing end.
Result<std::pair<Fd, Fd>> make_pipe();

/// A pipe that holds all of `state` and then ends. Errors: too_large,
/// corrupted (empty), resource_exhausted.
Result<Fd> make_state_source(const std::string& state);

/// Reads until the other end closes. Errors: too_large. Cancel: safe.
Task<Result<std::string>> drain_state(Fd pipe);

}  // namespace hako::engine
