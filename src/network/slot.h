// Network slots: a namespace with one tap in it, and no way out.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

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
/// Where the guest's TCP connections arrive, whatever port they are meant for.
inline constexpr uint16_t kEgressPort = 15001;

/// What a guest may put through its slot; what is beyond is dropped there, or refused, at the cost
/// of its own VMM. 0: no limit.
struct SlotLimits {
  int mib_per_second = 1024;       ///< in each direction
  int packets_per_second = 100'000;  ///< that it sends
  int connects_per_second = 1024;  ///< new TCP connections; further ones are reset
  int names_per_second = 512;      ///< packets to port 53
};

/// An open slot. Closing it leaves the namespace, which is bound to a path; destroy_slot() removes
/// it.
struct Slot {
  int number = -1;
  Fd netns;
};

/// Makes namespace `number`, bound to <directory>/slot-<number>: lo and tap0 up, addresses and a
/// permanent neighbour entry for the guest, no route but the link's own, IPv6 off, forwarding off
/// and forwarded packets dropped. Every other address is the namespace's own: what the guest sends
/// to any is for the sockets of open_egress(), if it is TCP or DNS, and is refused at once by ICMP
/// or a reset if it is not, or while these are not open. `directory` is made if missing. A slot that
/// has its name is whole: an interrupted call leaves at most an empty file, which the next one
/// replaces. Blocking (a few ms); different slots may be made by several threads at once. Errors:
/// already_exists; permission_denied (needs root); the one of /dev/net/tun, naming it; unsupported
/// where the kernel lacks what the walls need.
Result<Slot> create_slot(const std::string& directory, int number, const SlotLimits& limits = {});
/// Opens a slot that an earlier run made. Where it was made with other walls or limits, they become
/// those of this one: what runs in it goes on. not_found if there is none. Blocking (1 ms;
/// some 15 where there is something to mend).
Result<Slot> open_slot(const std::string& directory, int number, const SlotLimits& limits = {});
/// Unbinds the namespace; the kernel frees it when its last user has gone. Missing is success.
Result<void> destroy_slot(const std::string& directory, int number);
/// Numbers of all slots below `directory`, ascending, interrupted ones included. None if it is
/// missing.
Result<std::vector<int>> list_slots(const std::string& directory);
/// Removes `directory` itself, once no slot is left in it. Missing is success.
Result<void> release_slots(const std::string& directory);

/// Attaches to the slot's persistent tap: a descriptor for a VMM. One at a time (IFF_TAP allows one
/// queue): failed_precondition while another is open. not_found if the tap has gone. Non-blocking,
/// with virtio-net headers (IFF_VNET_HDR).
Result<Fd> open_tap(const Slot& slot);
/// Unconnected, non-blocking TCP sockets that live in the slot's namespace.
Result<std::vector<Fd>> open_sockets(const Slot& slot, int count);

/// Where what the guest sends out arrives. Non-blocking; IP_TRANSPARENT, so that they may take and
/// answer what was meant for any address.
struct EgressSockets {
  /// TCP, listening. getsockname(2) of an accepted connection is what the guest connected to.
  Fd listener;
  /// UDP port 53. IP_PKTINFO tells what address a question was sent to; an answer gets that as its
  /// source (ipi_spec_dst), or the guest does not take it.
  Fd dns;
};
/// May be called while others of the slot are open (SO_REUSEPORT): new connections then go to
/// either until those are closed.
Result<EgressSockets> open_egress(const Slot& slot);
/// An empty namespace with not even lo up, for VMM processes, bound to `path`. Made or opened. Its
/// folder may be one of slots, and is made and released like one.
Result<Fd> empty_namespace(const std::string& path);
/// Unbinds it. Missing is success.
Result<void> remove_empty_namespace(const std::string& path);

/// What keeps traffic inside, read back from the kernel: for tests and doctor.
struct SlotInspection {
  std::vector<std::string> interfaces;  ///< expected: lo, tap0
  std::vector<std::string> routes;      ///< unicast, all tables; expected: 169.254.0.20/30 only
  bool everything_is_local = false;     ///< expected: true; `local default dev lo`
  bool forwarding = false;
  std::vector<std::string> firewall;  ///< the rules of nftables, a line each
  bool firewall_is_whole = false;     ///< expected: true; exactly those of this version and `limits`
  bool forwarded_is_dropped = false;  ///< expected: true; one of them
};
Result<SlotInspection> inspect_slot(const Slot& slot, const SlotLimits& limits = {});

}  // namespace hako::network
