#include "gate/dns_service.h"

#include <algorithm>
#include <array>

#include "wire/dns.h"

namespace hako::gate {
namespace {

namespace dns = wire::dns;

/// What resolvers and browsers ask for beside the address. To say that there is none lets them go
/// on at once, where a refusal might make them try again.
constexpr std::array kEmptyTypes{dns::kTypeAaaa, dns::kTypeHttps, dns::kTypeSvcb, dns::kTypeCname};

DnsAnswer unread(std::span<const uint8_t> message, const Error& error) {
  DnsAnswer answer;
  answer.message = dns::refuse_unread(message);
  answer.noted = true;
  answer.rule = "dns.message";
  answer.reason = error.message();
  return answer;
}

DnsAnswer refused(const dns::Query& query, dns::ExtendedError why,
                  const policy::Decision& decision) {
  DnsAnswer answer;
  answer.message = dns::refuse(query, dns::Rcode::refused, why, decision.explanation());
  answer.noted = true;
  answer.name = query.name;
  answer.rule = decision.rule;
  answer.reason = decision.reason;
  return answer;
}

bool is_reverse(std::string_view name) {
  return name.ends_with(".in-addr.arpa") || name.ends_with(".ip6.arpa");
}

}  // namespace

DnsAnswer answer_dns(std::span<const uint8_t> message, const policy::EgressPolicy& policy,
                     Names& names) {
  auto parsed = dns::parse_query(message);
  if (!parsed) return unread(message, parsed.error());
  const dns::Query& query = parsed.value();
  if (query.type == dns::kTypePtr && query.klass == dns::kClassIn && is_reverse(query.name)) {
    // Programs ask this unasked, for their logs. It tells them nothing, but at once.
    DnsAnswer answer;
    answer.message = dns::refuse(query, dns::Rcode::no_such_name, dns::ExtendedError::other,
                                 "addresses have no names here");
    answer.name = query.name;
    return answer;
  }
  auto decision = policy::may_resolve(policy, query.name);
  if (!decision.allowed) return refused(query, dns::ExtendedError::prohibited, decision);

  DnsAnswer answer;
  answer.allowed = true;
  answer.name = query.name;
  answer.rule = std::move(decision.rule);
  answer.reason = std::move(decision.reason);
  if (query.klass == dns::kClassIn && query.type == dns::kTypeA) {
    answer.address = names.address_of(query.name);
    answer.noted = true;
    answer.message = dns::answer_address(query, answer.address->to_bytes(), kDnsTtl);
    return answer;
  }
  bool empty = std::find(kEmptyTypes.begin(), kEmptyTypes.end(), query.type) != kEmptyTypes.end();
  if (query.klass == dns::kClassIn && empty) {
    answer.message = dns::answer_nothing(query);
    return answer;
  }
  return refused(query, dns::ExtendedError::prohibited,
                 policy::Decision::deny("dns.type", "only addresses of names are told here",
                                        "ask for type A"));
}

DnsAnswer refuse_dns(std::span<const uint8_t> message) {
  auto parsed = dns::parse_query(message);
  if (!parsed) return unread(message, parsed.error());
  return refused(parsed.value(), dns::ExtendedError::other,
                 policy::Decision::deny("limits.names", "this box asks for names too often",
                                        "ask less often, or have the operator raise [egress] "
                                        "names_per_second"));
}

}  // namespace hako::gate
