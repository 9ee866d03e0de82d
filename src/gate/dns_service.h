// What a box's DNS questions are answered. Nothing is asked of anybody: no question leaves the
// host.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "gate/names.h"
#include "policy/egress.h"

namespace hako::gate {

/// How long a box may keep an answer, seconds. Short: the policy may change.
inline constexpr uint32_t kDnsTtl = 60;

struct DnsAnswer {
  std::vector<uint8_t> message;  ///< at most 512 bytes; empty: say nothing
  /// Worth a record: each refusal; of what is allowed, only that a name got its address, as the
  /// questions beside that one (IPv6, HTTPS) say nothing more.
  bool noted = false;
  bool allowed = false;
  std::string name;  ///< as asked, lower case; empty if the message could not be read
  std::optional<boost::asio::ip::address_v4> address;  ///< what the box was told
  std::string rule;    ///< policy::may_resolve()'s, or "dns.message", "dns.type", "limits.names"
  std::string reason;  ///< a sentence
};

/// The answer to a message that came over UDP, or over TCP without the length before it.
/// An allowed name has an address of `names`, and nothing of the types that clients ask for beside
/// it. No other types are answered, and no address has a name.
DnsAnswer answer_dns(std::span<const uint8_t> message, const policy::EgressPolicy& policy,
                     Names& names);

/// The answer for a box that asks more often than it may.
DnsAnswer refuse_dns(std::span<const uint8_t> message);

}  // namespace hako::gate
