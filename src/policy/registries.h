// Which image registries may be asked, and where a pull may lead.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "policy/decision.h"

namespace hako::policy {

/// What the operator lists, as host[:port] in lower case. Without a port HTTPS's is meant.
struct RegistryLists {
  std::vector<std::string> registries;  ///< what images may be pulled from
  std::vector<std::string> insecure;    ///< the same, over plain HTTP or unverified TLS, too
  /// Further hosts that a registry may send a pull to, for a token or for its layers; "*.example"
  /// is every name below example.
  std::vector<std::string> hosts;
};

/// `registry` is host[:port] as an image's name has it, "docker.io" for Docker's own. A denial
/// names the setting. Rule: registries.listed.
Decision may_pull(std::string_view registry, const RegistryLists& lists);
/// Whether plain HTTP and unverified TLS will do.
bool may_be_insecure(std::string_view registry, const RegistryLists& lists);

/// Whether a pull may connect to `host` (a name or a numeric address) at `port`: only where it is
/// listed in one of the three, whatever a registry says. "docker.io" stands for the hosts that
/// Docker runs it on. Rule: registries.reach.
Decision may_reach(std::string_view host, uint16_t port, const RegistryLists& lists);

/// A listed endpoint on this machine's loopback: an IPv4 address of it and a port.
struct LoopbackEndpoint {
  std::string address;
  uint16_t port;
  bool operator==(const LoopbackEndpoint&) const = default;
};
std::vector<LoopbackEndpoint> loopback_endpoints(const RegistryLists& lists);

}  // namespace hako::policy
