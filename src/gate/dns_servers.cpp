// Which DNS servers are meant.
#include <charconv>

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

Result<DnsServer> make_server(std::string_view address, std::string_view port) {
  boost::system::error_code error;
  DnsServer server;
  server.address = asio::ip::make_address(std::string(address), error);
  bool good = !error && !server.address.is_unspecified();
  if (good && !port.empty()) {
    auto [end, failed] = std::from_chars(port.data(), port.data() + port.size(), server.port);
    good = failed == std::errc() && end == port.data() + port.size() && server.port != 0;
  }
  if (!good)
    return Error(ErrorCode::invalid_argument,
                 "a DNS server is an address, or an address and a port as in 192.0.2.1:53 or "
                 "[2001:db8::1]:53");
  return server;
}

}  // namespace

Result<DnsServer> parse_dns_server(std::string_view text) {
  if (text.starts_with('[')) {
    size_t end = text.find("]:");
    if (end == text.npos || end + 2 == text.size()) return make_server("", "");
    return make_server(text.substr(1, end - 1), text.substr(end + 2));
  }
  size_t colon = text.find(':');
  bool has_port = colon != text.npos && text.find(':', colon + 1) == text.npos;
  if (!has_port) return make_server(text, "");
  if (colon + 1 == text.size()) return make_server("", "");
  return make_server(text.substr(0, colon), text.substr(colon + 1));
}

std::vector<DnsServer> resolvers_from(std::string_view resolv_conf) {
  std::vector<DnsServer> servers;
  while (!resolv_conf.empty() && servers.size() < Resolver::kMostServers) {
    auto line = resolv_conf.substr(0, resolv_conf.find('\n'));
    resolv_conf.remove_prefix(std::min(line.size() + 1, resolv_conf.size()));
    if (next_word(line) != "nameserver") continue;
    auto server = make_server(next_word(line), "");
    if (server) servers.push_back(server.value());
  }
  return servers;
}

}  // namespace hako::gate
