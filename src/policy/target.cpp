#include <algorithm>
#include <charconv>

#include "policy/target_match.h"

namespace hako::policy {
namespace {

namespace asio_ip = boost::asio::ip;

constexpr size_t kLongestTarget = 512;
constexpr size_t kMostPortRanges = 32;

/// A whole number without a sign or anything behind it.
std::optional<int> number_from(std::string_view text, int least, int most) {
  unsigned value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  if (value < unsigned(least) || value > unsigned(most)) return std::nullopt;
  return int(value);
}

/// "80-90,443"; nothing if it is not that.
std::optional<std::vector<PortRange>> ports_from(std::string_view text) {
  std::vector<PortRange> ports;
  for (;;) {
    size_t comma = std::min(text.find(','), text.size());
    std::string_view part = text.substr(0, comma);
    size_t dash = std::min(part.find('-'), part.size());
    auto first = number_from(part.substr(0, dash), 1, UINT16_MAX);
    auto last = dash == part.size() ? first : number_from(part.substr(dash + 1), 1, UINT16_MAX);
    if (!first || !last || *first > *last || ports.size() == kMostPortRanges) return std::nullopt;
    ports.push_back({uint16_t(*first), uint16_t(*last)});
    if (comma == text.size()) return ports;
    text.remove_prefix(comma + 1);
  }
}

/// The first address of the network that `address` lies in.
asio_ip::address masked(const asio_ip::address& address, int prefix) {
  auto clear = [&](auto bytes) {
    for (size_t i = 0; i < bytes.size(); ++i) {
      int kept = std::clamp(prefix - int(i) * 8, 0, 8);
      bytes[i] &= static_cast<uint8_t>(0xff00 >> kept);
    }
    return bytes;
  };
  if (address.is_v4()) return asio_ip::address_v4(clear(address.to_v4().to_bytes()));
  return asio_ip::address_v6(clear(address.to_v6().to_bytes()));
}

std::optional<asio_ip::address> address_from(std::string_view text) {
  if (text.find('%') != text.npos) return std::nullopt;  // an interface of some host
  boost::system::error_code bad;
  auto address = asio_ip::make_address(text, bad);
  if (bad) return std::nullopt;
  return address;
}

/// The parts of a target's text.
struct TargetParts {
  std::string_view host;    ///< without brackets
  std::string_view prefix;  ///< with its '/', or nothing
  std::string_view ports;   ///< with its ':', or nothing
};

std::optional<TargetParts> take_target_apart(std::string_view text) {
  TargetParts parts;
  std::string_view rest;
  if (text.starts_with('[')) {
    size_t end = text.find(']');
    if (end == text.npos) return std::nullopt;
    parts.host = text.substr(1, end - 1);
    if (parts.host.find(':') == text.npos) return std::nullopt;  // brackets are for IPv6
    rest = text.substr(end + 1);
  } else {
    // More colons than one: an IPv6 address without brackets, so without ports.
    bool bare_v6 = std::count(text.begin(), text.end(), ':') > 1;
    size_t end = std::min(text.find_first_of(bare_v6 ? "/" : "/:"), text.size());
    parts.host = text.substr(0, end);
    rest = text.substr(end);
  }
  size_t colon = std::min(rest.find(':'), rest.size());
  parts.prefix = rest.substr(0, colon);
  parts.ports = rest.substr(colon);
  if (!parts.prefix.empty() && parts.prefix.front() != '/') return std::nullopt;
  return parts;
}

Error wrong_target(std::string_view text, const char* why) {
  return Error(ErrorCode::invalid_argument, in_quotes(text) + " " + why);
}

constexpr const char* kNoTarget =
    "is neither a name (example.com, *.example.com, *) nor a network (192.0.2.0/24, "
    "[2001:db8::]/32), with ports behind it (:443, :80-90,443) or without";

Result<void> read_network(std::string_view text, const asio_ip::address& address,
                          std::string_view prefix, Target& target) {
  int bits = address.is_v4() ? 32 : 128;
  target.kind = Target::Kind::network;
  target.prefix = bits;
  if (!prefix.empty()) {
    auto given = number_from(prefix.substr(1), 0, bits);
    if (!given) return wrong_target(text, "has a prefix that is not a number of bits");
    target.prefix = *given;
  }
  if (address != unmapped(address)) {
    return wrong_target(text, "is an IPv4 address within IPv6; write the IPv4 address");
  }
  target.network = masked(address, target.prefix);
  return ok();
}

Result<void> read_name(std::string_view text, std::string_view host, Target& target) {
  for (char c : host) target.name += c >= 'A' && c <= 'Z' ? char(c - 'A' + 'a') : c;
  if (target.name == "*") {
    target.kind = Target::Kind::names_below;
    target.name.clear();
    return ok();
  }
  if (target.name.starts_with("*.")) {
    target.kind = Target::Kind::names_below;
    target.name.erase(0, 2);
  }
  if (target.name.ends_with('.')) target.name.pop_back();
  if (!can_be_name(target.name)) return wrong_target(text, kNoTarget);
  return ok();
}

}  // namespace

Result<Target> parse_target(std::string_view text) {
  auto parts = text.size() <= kLongestTarget ? take_target_apart(text) : std::nullopt;
  if (!parts) return wrong_target(text, kNoTarget);
  Target target;
  if (auto address = address_from(parts->host)) {
    HAKO_TRYV(read_network(text, *address, parts->prefix, target));
  } else if (!parts->prefix.empty() || text.starts_with('[')) {
    return wrong_target(text, kNoTarget);
  } else {
    HAKO_TRYV(read_name(text, parts->host, target));
  }
  if (!parts->ports.empty()) {
    auto ports = ports_from(parts->ports.substr(1));
    if (!ports) {
      return wrong_target(text, "has ports that are no numbers from 1 to 65535 or ranges of them");
    }
    target.ports = std::move(*ports);
  }
  return target;
}

std::string to_string(const Target& target) {
  std::string text;
  switch (target.kind) {
    case Target::Kind::name:
      text = target.name;
      break;
    case Target::Kind::names_below:
      text = target.name.empty() ? "*" : "*." + target.name;
      break;
    case Target::Kind::network: {
      bool v4 = target.network.is_v4();
      text = v4 ? target.network.to_string() : "[" + target.network.to_string() + "]";
      if (target.prefix != (v4 ? 32 : 128)) text += "/" + std::to_string(target.prefix);
      break;
    }
  }
  char before = ':';
  for (PortRange range : target.ports) {
    text += before + std::to_string(range.first);
    if (range.last != range.first) text += "-" + std::to_string(range.last);
    before = ',';
  }
  return text;
}

}  // namespace hako::policy
