// Network slots: a namespace with one tap in it, and no way out.
#pragma once

#include <string>

#include "base/fd.h"
#include "base/result.h"

namespace hako::network {

/// Every guest sees the same addresses; its namespace keeps them apart.
inline constexpr char kGuestAddress[] = "169.254.0.21";
inline constexpr char kHostAddress[] = "169.254.0.22";
inline constexpr int kPrefixLength = 30;
inline constexpr char kGuestMac[] = "02:68:61:6b:6f:02";
/// Constant, so that a clone's cached neighbour entry for the host side stays true.
inline constexpr char kHostMac[] = "02:68:61:6b:6f:01";
inline constexpr char kTapName[] = "tap0";

/// An open slot. Closing it leaves the namespace, which is bound to a path; destroy_slot() removes it.
struct Slot {
  int number = -1;
  Fd netns;
};

/// Makes namespace `number`, bound to <directory>/slot-<number>: lo and tap0 up, addresses and a
/// permanent neighbour entry for the guest, no route but the link's own, IPv6 off, forwarding off.
/// Blocking (a few ms). Errors: already_exists, permission_denied (needs root; /dev/net/tun), ...
Result<Slot> create_slot(const std::string& directory, int number);
/// Opens a slot that an earlier run made. not_found if there is none.
Result<Slot> open_slot(const std::string& directory, int number);
/// Unbinds the namespace; the kernel frees it when its last user has gone. Missing is success.
Result<void> destroy_slot(const std::string& directory, int number);
/// Numbers of all slots bound below `directory`.
Result<std::vector<int>> list_slots(const std::string& directory);

/// Attaches to the slot's persistent tap: a descriptor for a VMM. One at a time (IFF_TAP allows one
/// queue): failed_precondition while another is open.
Result<Fd> open_tap(const Slot& slot);
/// Unconnected, non-blocking TCP sockets that live in the slot's namespace.
Result<std::vector<Fd>> open_sockets(const Slot& slot, int count);
/// An empty namespace with not even lo up, for VMM processes, bound to `path`. Made or opened.
Result<Fd> empty_namespace(const std::string& path);

/// What keeps traffic inside, read back from the kernel: for tests and doctor.
struct SlotInspection {
  std::vector<std::string> interfaces;  ///< expected: lo, tap0
  std::vector<std::string> routes;      ///< expected: 169.254.0.20/30 only, no default
  bool forwarding = false;
};
Result<SlotInspection> inspect_slot(const Slot& slot);

}  // namespace hako::network
