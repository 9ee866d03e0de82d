// What a box may reach: layers of rules that must all agree. Pure; the gate asks, and obeys.
#pragma once

#include <boost/asio/ip/address.hpp>

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "policy/decision.h"

namespace hako::policy {

/// none: nothing. allow: what the list names. internet: every public address, by any name.
/// In rising order.
enum class EgressLevel { none, allow, internet };

std::string_view to_string(EgressLevel level);
std::optional<EgressLevel> egress_level_from(std::string_view word);

struct PortRange {
  uint16_t first = 0;
  uint16_t last = 0;
  bool operator==(const PortRange&) const = default;
};

/// One entry of a list: an exact name, all names below one, or a network; for some ports or all.
/// The network 0.0.0.0/0 is everything: all addresses and all names, as E2B's clients mean it.
struct Target {
  enum class Kind { name, names_below, network };
  Kind kind = Kind::name;
  /// Lower case, without a dot at its end. Of names_below ("*.example.com") the part behind "*.";
  /// empty for "*", which is every name.
  std::string name;
  boost::asio::ip::address network;  ///< its first address
  int prefix = 0;                    ///< length of the network's prefix, bits
  std::vector<PortRange> ports;      ///< none: every port
  bool operator==(const Target&) const = default;
};

/// "example.com", "*.example.com:443", "*", "10.0.0.0/8", "192.0.2.1:80-90,443",
/// "[2001:db8::]/32:443"; IPv6 without ports also without brackets. Upper case, a dot at the end of
/// a name and bits behind the prefix are taken, and cleared. invalid_argument says what is wrong.
Result<Target> parse_target(std::string_view text);
/// The text from which parse_target() makes the same target.
std::string to_string(const Target& target);

/// Rules from one source: the operator, a label, a request.
struct EgressLayer {
  std::string name;  ///< "platform", "label confidential", "request": begins the rule's name
  EgressLevel level = EgressLevel::none;
  std::vector<Target> allow;  ///< for level allow
  std::vector<Target> deny;   ///< on top of any level
  /// E2B's order: what `allow` names passes even where `deny` names it, too.
  bool allow_beats_deny = false;
  bool operator==(const EgressLayer&) const = default;
};

/// Names that end so stand for links alone, whatever else a policy allows.
inline constexpr std::string_view kLinkSuffix = ".box";

/// A port of another box, reached under a name of its own ("target.box").
struct EgressLink {
  std::string name;
  std::string box;
  uint16_t port = 0;
  bool operator==(const EgressLink&) const = default;
};

/// A host whose TLS the gate terminates, as a secret is to be put into what the box sends there, or
/// what it sends is to be counted.
struct InterceptedHost {
  std::string host;             ///< an exact name, lower case
  std::set<uint16_t> ports = {443};  ///< at least one
  bool operator==(const InterceptedHost&) const = default;
};

/// Of one box. 0: no limit.
struct EgressLimits {
  int connections = 256;         ///< open at once
  int connects_per_second = 64;  ///< new ones, with a burst of as many as may be open
  int64_t bytes_per_second = 0;  ///< both directions together
  int64_t bytes_total = 0;       ///< both directions together, for the box's whole life
  int names_per_second = 64;     ///< DNS questions
  bool operator==(const EgressLimits&) const = default;
};

struct EgressPolicy {
  std::vector<EgressLayer> layers;  ///< all must agree; without any, nothing passes
  /// Networks that the operator has opened though they are not public.
  std::vector<Target> private_networks;
  std::vector<EgressLink> links;
  /// Each host once. Whoever cannot terminate TLS for these lets nothing pass to them: this holds no
  /// secret, so that it can be known and kept where those cannot be.
  std::vector<InterceptedHost> intercept;
  /// Ports where nothing but TLS passes if a name was what allowed the connection.
  std::set<uint16_t> tls_ports = {443};
  EgressLimits limits;
  bool operator==(const EgressPolicy&) const = default;
};

/// Where a box wants to go: by `name` (found through our DNS), or by `address` alone.
struct Destination {
  std::string name;                                 ///< lower case; empty if by address
  std::optional<boost::asio::ip::address> address;  ///< what it is, or what the name has become
  uint16_t port = 0;
};

/// "example.com:443", "192.0.2.1:80", "[2001:db8::1]:80".
std::string to_string(const Destination& destination);

/// Whether DNS may answer for `name`: some port of it might be allowed. Links' names are allowed.
/// Rules: "egress.none", "<layer>.level", "<layer>.deny <target>", "<layer>.allow",
/// "egress.link" (a name for links, and no link has it), "egress.name" (not a name that can exist:
/// labels of letters, digits, '-' and '_', the last one not a number). Of an allowed one:
/// "<layer>.allow <target>", "<layer>.level", "link".
Decision may_resolve(const EgressPolicy& policy, std::string_view name);

/// Whether a connection may be tried. With a name and no address: before the name is resolved.
/// With a name and an address: once more, for the address it has become. By address alone: only
/// rules for networks can allow it, or the level internet. By name: under a list only rules for
/// names can, as a question for any other name could carry data out; networks can still deny it.
/// Rules as above, and "egress.private": the address is not public and the operator has not opened
/// it. Links are not asked about here.
Decision may_connect(const EgressPolicy& policy, const Destination& destination);

/// Whether what is said on an allowed connection must agree with `destination.name` (SNI, Host):
/// some layer's answer hangs on the name: level allow by a rule for names, or any rule for names in
/// a deny list that holds for the port. In the latter case also for a connection by address alone,
/// whose `name` is empty: whoever says a name on it could say a denied one, so none may be said.
bool must_agree(const EgressPolicy& policy, const Destination& destination);

/// Whether TLS towards it must end at the gate: decided by the name alone, which an allowed connection
/// was made by or has said first. Links are never intercepted.
bool must_intercept(const EgressPolicy& policy, std::string_view name, uint16_t port);

/// Whether the address can be on the public internet. False for private, loopback, link-local,
/// shared (100.64.0.0/10), multicast, broadcast, documentation, benchmarking (198.18.0.0/15),
/// reserved and unspecified ones, metadata services among them; IPv6: only 2000::/3 without its
/// reserved parts, and forms that carry an IPv4 address (mapped, 6to4, Teredo, NAT64) are judged by
/// that address or refused.
bool is_public(const boost::asio::ip::address& address);

}  // namespace hako::policy
