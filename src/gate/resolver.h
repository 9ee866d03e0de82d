// From names to addresses, for the gate's own connections.
#pragma once

#include <boost/asio/ip/address.hpp>

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/async/turn_queue.h"
#include "gate/name_cache.h"

namespace hako::gate {

/// A DNS server that is asked.
struct DnsServer {
  asio::ip::address address;
  uint16_t port = 53;
  bool operator==(const DnsServer&) const = default;
};

/// The servers that the text of a resolv.conf(5) names, at most 3. None: it names none.
std::vector<DnsServer> resolvers_from(std::string_view resolv_conf);

/// Asks DNS servers and nobody else: no hosts file, no search list, no numbers as names. Needs no
/// files, so it works in a confined gate. Answers are kept (NameCache), and one question is asked
/// once however many wait for it.
/// Thread: the executor's. Must outlive its calls.
class Resolver {
 public:
  static constexpr size_t kMostServers = 3;
  /// With what one box may ask for (EgressBox::kMostResolving), it takes 256 boxes whose names
  /// nobody answers for to leave the others without.
  static constexpr size_t kMostAtOnce = 2048;
  static constexpr size_t kDescriptorsEach = 4;  ///< IPv4 and IPv6, each over UDP and TCP
  static constexpr std::chrono::seconds kDeadline{5};

  /// Of `servers` the first kMostServers are asked, in this order; for `most_at_once` names at once
  /// at most: the caller knows how many descriptors there are.
  Resolver(asio::any_io_executor executor, std::vector<DnsServer> servers,
           size_t most_at_once = kMostAtOnce);
  Resolver(const Resolver&) = delete;
  Resolver& operator=(const Resolver&) = delete;

  /// All addresses of `name` (a host name in lower case, without a dot at its end): first IPv4, and
  /// then, if this host has a way there, IPv6. CNAMEs are followed as the server has put them into
  /// its answer. Never empty.
  /// Errors: not_found (no such name, or no address); timed_out (kDeadline); unavailable (the
  /// servers cannot be reached, fail or refuse, or too many names are being asked for: bound
  /// what one box may ask for at once).
  /// Cancel: safe.
  Task<Result<Addresses>> resolve(std::string name);

 private:
  struct Asking;

  Task<Result<Addresses>> find(std::string name);
  Task<Result<Addresses>> ask(std::string name);

  asio::any_io_executor executor_;
  std::vector<DnsServer> servers_;
  size_t most_at_once_;
  NameCache cache_;
  /// The names that are being asked for, and how to learn that they no longer are.
  std::map<std::string, std::shared_ptr<Condition>> asking_;
};

}  // namespace hako::gate
