// The servers of a host as the policy on listening sees them.
#pragma once

#include "config/config.h"
#include "policy/listen.h"

namespace hako::config {

/// As the configuration has them: whether boxes are emulated is for the caller to add. Both refer
/// to `config`, which must outlive them.
policy::Listening api_listening(const Config& config);
policy::Listening gate_listening(const Config& config);

}  // namespace hako::config
