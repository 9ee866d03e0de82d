// The guest's end of its one link.
#pragma once

#include "base/result.h"

namespace hako::guest {

/// The same in every box: each has a network namespace to itself on the host.
inline constexpr char kGuestAddress[] = "169.254.0.21";
inline constexpr char kHostAddress[] = "169.254.0.22";
inline constexpr char kNetmask[] = "255.255.255.252";

/// Loopback up; eth0 with its address and a permanent neighbour entry for the host, so that neither
/// side ever waits for ARP; a default route to the host, where the gate decides about all that comes
/// along it. Waits a little for eth0 to appear. Blocking.
Result<void> bring_up_network();

}  // namespace hako::guest
