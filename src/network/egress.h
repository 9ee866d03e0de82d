// The sockets of open_egress().
#pragma once

#include "network/slot.h"

namespace hako::network {

/// In the calling thread's namespace.
Result<EgressSockets> make_egress_sockets();

}  // namespace hako::network
