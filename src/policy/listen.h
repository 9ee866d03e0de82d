// Where a server of ours may listen.
#pragma once

#include <string_view>

#include "policy/decision.h"

namespace hako::policy {

/// Whether a numeric address can only be reached from this machine: 127.0.0.0/8, ::1, and
/// 127.0.0.0/8 mapped into IPv6. False for anything that is not an address.
bool is_loopback(std::string_view address);

/// A server that wants to listen.
struct Listening {
  std::string_view section;  ///< of the configuration, for what to change: "api" or "gate"
  std::string_view address;
  /// Boxes are separated by emulation and not by hardware, a weaker wall that is meant for one's
  /// own machine.
  bool emulated = false;
  bool allow_emulated = false;  ///< the operator says that others may reach them all the same
  bool encrypted = false;       ///< other machines are only spoken to over TLS
  bool allow_plain = false;     ///< the operator says that keys and data may pass in the clear
};

/// Rules: listen.address, listen.loopback; then what forbids, listen.emulated before listen.plain;
/// then listen.hardware, or listen.consent where boxes are emulated.
Decision may_listen(const Listening& server);

}  // namespace hako::policy
