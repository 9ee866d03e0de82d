// Where a server of ours may listen.
#pragma once

#include <string_view>

#include "policy/decision.h"

namespace hako::policy {

/// Whether a numeric address can only be reached from this machine: 127.0.0.0/8, ::1, and
/// 127.0.0.0/8 mapped into IPv6. False for anything that is not an address.
bool is_loopback(std::string_view address);

/// `emulated`: boxes are separated by emulation and not by hardware, a weaker wall that is meant
/// for one's own machine. `consent`: the operator has said that strangers may reach it all the
/// same. Rules: listen.loopback, listen.hardware, listen.consent, listen.emulated, listen.address.
Decision may_listen(std::string_view address, bool emulated, bool consent);

}  // namespace hako::policy
