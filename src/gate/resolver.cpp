#include "gate/resolver.h"

#include <ares.h>
#include <arpa/nameser.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>

#include "base/fd.h"
#include "gate/dns_lookup.h"

namespace hako::gate {
namespace {

/// More addresses of one kind than anybody needs.
constexpr int kMostAddresses = 16;
/// Before the deadline, so that what was found by then is not lost.
constexpr std::chrono::milliseconds kPatience{4800};
/// For IPv6 where IPv4 is known: there are servers that do not answer such questions.
constexpr std::chrono::milliseconds kPatienceForMore{250};

struct Found {
  Addresses addresses;
  std::chrono::seconds ttl;
};

asio::ip::address address_of(const ares_addrttl& found) {
  return asio::ip::address_v4(ntohl(found.ipaddr.s_addr));
}

asio::ip::address address_of(const ares_addr6ttl& found) {
  asio::ip::address_v6::bytes_type bytes;
  std::copy_n(reinterpret_cast<const uint8_t*>(&found.ip6addr), bytes.size(), bytes.begin());
  return asio::ip::address_v6(bytes);
}

template <class Record, class Parse>
Result<Found> read_addresses(const std::vector<uint8_t>& message, Parse parse) {
  std::array<Record, kMostAddresses> records{};
  int count = kMostAddresses;
  int status =
      parse(message.data(), static_cast<int>(message.size()), nullptr, records.data(), &count);
  if (status == ARES_ENODATA || (status == ARES_SUCCESS && count == 0))
    return Error(ErrorCode::not_found, "the name has no address");
  if (status != ARES_SUCCESS)
    return Error(ErrorCode::unavailable, "the DNS server's answer makes no sense");
  Found found{{}, std::chrono::hours(24)};
  for (int i = 0; i < count; ++i) {
    found.addresses.push_back(address_of(records[i]));
    found.ttl = std::min(found.ttl, std::chrono::seconds(std::max(records[i].ttl, 0)));
  }
  return found;
}

Result<Found> read_reply(const DnsReply& reply, uint16_t type) {
  if (reply.status == ARES_ETIMEOUT)
    return Error(ErrorCode::timed_out, "no DNS server has answered");
  if (reply.status == ARES_EBADNAME) return Error(ErrorCode::not_found, "no such name");
  if (reply.status != ARES_SUCCESS)
    return Error(ErrorCode::unavailable,
                 std::string("asking the DNS server: ") + ares_strerror(reply.status));
  // c-ares lets no answer through that is shorter than a header.
  int rcode = reply.message[3] & 0x0f;
  if (rcode == ns_r_nxdomain) return Error(ErrorCode::not_found, "no such name");
  if (rcode != ns_r_noerror)
    return Error(ErrorCode::unavailable,
                 "the DNS server refuses with code " + std::to_string(rcode));
  if (type == ns_t_a) return read_addresses<ares_addrttl>(reply.message, ares_parse_a_reply);
  return read_addresses<ares_addr6ttl>(reply.message, ares_parse_aaaa_reply);
}

/// Both kinds together. An error only if there is no address at all, and then the one that may be
/// better next time.
Result<Found> join(Result<Found> first, Result<Found> second) {
  if (first && second) {
    auto& more = second.value();
    auto& all = first.value();
    all.addresses.insert(all.addresses.end(), more.addresses.begin(), more.addresses.end());
    all.ttl = std::min(all.ttl, more.ttl);
    return first;
  }
  if (first) return first;
  if (second || first.error().code() == ErrorCode::not_found) return second;
  return first;
}

/// Whether this host has a way into the IPv6 internet. Nothing is sent.
bool has_ipv6() {
  Fd probe(::socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!probe) return false;
  sockaddr_in6 somewhere{};
  somewhere.sin6_family = AF_INET6;
  somewhere.sin6_port = htons(53);
  somewhere.sin6_addr.s6_addr[0] = 0x20;  // 2001:db8::1, of the network for documentation
  somewhere.sin6_addr.s6_addr[1] = 0x01;
  somewhere.sin6_addr.s6_addr[2] = 0x0d;
  somewhere.sin6_addr.s6_addr[3] = 0xb8;
  somewhere.sin6_addr.s6_addr[15] = 1;
  return ::connect(probe.get(), reinterpret_cast<sockaddr*>(&somewhere), sizeof somewhere) == 0;
}

NameCache::Time now() {
  return std::chrono::steady_clock::now();
}

}  // namespace

/// A name is being asked for as long as this lives.
struct Resolver::Asking {
  Asking(Resolver& owner, std::string of) : resolver(owner), name(std::move(of)) {
    resolver.asking_.emplace(name, std::make_shared<Condition>());
  }
  ~Asking() {
    auto entry = resolver.asking_.find(name);
    auto ended = entry->second;
    resolver.asking_.erase(entry);
    ended->notify_all();
  }
  Asking(const Asking&) = delete;
  Asking& operator=(const Asking&) = delete;

  Resolver& resolver;
  std::string name;
};

Resolver::Resolver(asio::any_io_executor executor, std::vector<DnsServer> servers,
                   size_t most_at_once)
    : executor_(std::move(executor)), servers_(std::move(servers)), most_at_once_(most_at_once) {
  servers_.resize(std::min(servers_.size(), kMostServers));
}

Task<Result<Addresses>> Resolver::resolve(std::string name) {
  std::string context = "resolve " + name;
  auto work = find(std::move(name));
  auto result = co_await with_deadline(kDeadline, std::move(work));
  if (!result) co_return std::move(result).error().with_context(context);
  co_return std::move(result).value();
}

Task<Result<Addresses>> Resolver::find(std::string name) {
  for (;;) {
    if (auto known = cache_.find(name, now())) co_return std::move(*known);
    auto other = asking_.find(name);
    if (other == asking_.end()) break;
    // Who asks now will have put the answer into the cache. Or failed: then it is our turn.
    auto ended = other->second;
    co_await ended->wait();
  }
  if (servers_.empty()) co_return Error(ErrorCode::unavailable, "no DNS server is configured");
  if (asking_.size() >= most_at_once_)
    co_return Error(ErrorCode::unavailable, "too many names are being asked for");
  Asking asking(*this, name);
  co_return co_await ask(std::move(name));
}

Task<Result<Addresses>> Resolver::ask(std::string name) {
  DnsLookup lookup(executor_, servers_, kPatience);
  const DnsReply& of_ipv4 = lookup.ask(name, ns_t_a);
  const DnsReply* of_ipv6 = has_ipv6() ? &lookup.ask(name, ns_t_aaaa) : nullptr;
  co_await lookup.wait(of_ipv4);
  auto found = read_reply(of_ipv4, ns_t_a);
  if (of_ipv6) {
    co_await lookup.wait(*of_ipv6, found ? now() + kPatienceForMore : NameCache::Time::max());
    if (of_ipv6->done) found = join(std::move(found), read_reply(*of_ipv6, ns_t_aaaa));
  }
  if (found) {
    Addresses addresses = std::move(found.value().addresses);
    cache_.put(name, addresses, found.value().ttl, now());
    co_return addresses;
  }
  // Silence may be over in a moment; what was said stands for a while.
  if (found.error().code() != ErrorCode::timed_out)
    cache_.put(name, found.error(), std::chrono::seconds(0), now());
  co_return std::move(found).error();
}

}  // namespace hako::gate
