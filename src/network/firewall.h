// The nftables rules of a slot. Every function works on the calling thread's namespace.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "network/slot.h"

namespace hako::network {

/// Sees to it that the rules of this version, with these limits, stand, and no others. Where others stood, packets meet
/// either those or the new ones, never none. Blocking: half a millisecond, some 15 where there are
/// others to replace. permission_denied; unsupported where the kernel lacks what they need.
Result<void> raise_firewall(const SlotLimits& limits);
/// All rules that stand, as `nft list ruleset` says them, a line each without its indentation.
/// Errors: as above.
Result<std::vector<std::string>> read_firewall();
/// What read_firewall() says after raise_firewall().
std::vector<std::string> whole_firewall(const SlotLimits& limits);

}  // namespace hako::network
