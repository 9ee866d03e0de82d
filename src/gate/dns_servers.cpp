// Which DNS servers are meant.
#include "gate/resolver.h"

namespace hako::gate {
namespace {

constexpr std::string_view kBlanks = " \t\r";

/// The next word of `line`, cut off it. Empty at its end.
std::string_view next_word(std::string_view& line) {
  line.remove_prefix(std::min(line.find_first_not_of(kBlanks), line.size()));
  auto word = line.substr(0, line.find_first_of(kBlanks));
  line.remove_prefix(word.size());
  return word;
}

}  // namespace

std::vector<DnsServer> resolvers_from(std::string_view resolv_conf) {
  std::vector<DnsServer> servers;
  while (!resolv_conf.empty() && servers.size() < Resolver::kMostServers) {
    auto line = resolv_conf.substr(0, resolv_conf.find('\n'));
    resolv_conf.remove_prefix(std::min(line.size() + 1, resolv_conf.size()));
    if (next_word(line) != "nameserver") continue;
    boost::system::error_code error;
    auto address = asio::ip::make_address(std::string(next_word(line)), error);
    if (!error) servers.push_back({address});
  }
  return servers;
}

}  // namespace hako::gate
