#include "policy/target_match.h"

#include <algorithm>

namespace hako::policy {
namespace {

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

bool is_hex_digit(char c) {
  return is_digit(c) || (c >= 'a' && c <= 'f');
}

/// Resolvers read "1.2.3.4", but "0x7f.1" too, as an address.
bool is_number(std::string_view label) {
  if (label.substr(0, 2) == "0x") {
    return std::all_of(label.begin() + 2, label.end(), is_hex_digit);
  }
  return std::all_of(label.begin(), label.end(), is_digit);
}

bool is_label(std::string_view label) {
  return !label.empty() && label.size() <= 63 &&
         std::all_of(label.begin(), label.end(), [](char c) {
           return is_digit(c) || (c >= 'a' && c <= 'z') || c == '-' || c == '_';
         });
}

template <class Bytes>
bool same_prefix(const Bytes& a, const Bytes& b, int bits) {
  size_t whole = static_cast<size_t>(bits) / 8;
  if (!std::equal(a.begin(), a.begin() + whole, b.begin())) return false;
  int rest = bits % 8;
  return rest == 0 || ((a[whole] ^ b[whole]) >> (8 - rest)) == 0;
}

/// The ports aside.
bool lies_within(const Target& wide, const Target& entry) {
  if (is_everything(wide)) return true;
  if (is_everything(entry)) return false;
  switch (entry.kind) {
    case Target::Kind::name:
      return matches_name(wide, entry.name);
    case Target::Kind::names_below:
      return wide.kind == Target::Kind::names_below &&
             (wide.name == entry.name || matches_name(wide, entry.name));
    case Target::Kind::network:
      return wide.kind == Target::Kind::network && wide.prefix <= entry.prefix &&
             matches_address(wide, entry.network);
  }
  return false;
}

bool covers_ports(const std::vector<Target>& list, const Target& entry, PortRange range) {
  return std::any_of(list.begin(), list.end(), [&](const Target& wide) {
    bool ports = wide.ports.empty() ||
                 std::any_of(wide.ports.begin(), wide.ports.end(), [&](PortRange known) {
                   return known.first <= range.first && range.last <= known.last;
                 });
    return ports && lies_within(wide, entry);
  });
}

}  // namespace

bool can_be_name(std::string_view name) {
  if (name.empty() || name.size() > 253) return false;
  std::string_view last;
  for (size_t begin = 0; begin <= name.size();) {
    size_t end = std::min(name.find('.', begin), name.size());
    last = name.substr(begin, end - begin);
    if (!is_label(last)) return false;
    begin = end + 1;
  }
  return !is_number(last);
}

boost::asio::ip::address unmapped(const boost::asio::ip::address& address) {
  if (!address.is_v6() || !address.to_v6().is_v4_mapped()) return address;
  return boost::asio::ip::make_address_v4(boost::asio::ip::v4_mapped, address.to_v6());
}

bool is_everything(const Target& target) {
  return target.kind == Target::Kind::network && target.network.is_v4() && target.prefix == 0;
}

bool matches_port(const Target& target, uint16_t port) {
  return target.ports.empty() ||
         std::any_of(target.ports.begin(), target.ports.end(),
                     [&](PortRange range) { return range.first <= port && port <= range.last; });
}

bool matches_name(const Target& target, std::string_view name) {
  switch (target.kind) {
    case Target::Kind::name:
      return name == target.name;
    case Target::Kind::names_below:
      return target.name.empty() || (name.size() > target.name.size() + 1 &&
                                     name.ends_with(target.name) &&
                                     name[name.size() - target.name.size() - 1] == '.');
    case Target::Kind::network:
      return is_everything(target);
  }
  return false;
}

bool matches_address(const Target& target, const boost::asio::ip::address& address) {
  if (target.kind != Target::Kind::network) return false;
  if (is_everything(target)) return true;
  auto plain = unmapped(address);
  if (plain.is_v4() != target.network.is_v4()) return false;
  return plain.is_v4() ? same_prefix(plain.to_v4().to_bytes(), target.network.to_v4().to_bytes(),
                                     target.prefix)
                       : same_prefix(plain.to_v6().to_bytes(), target.network.to_v6().to_bytes(),
                                     target.prefix);
}

bool covers(const std::vector<Target>& list, const Target& entry) {
  if (entry.ports.empty()) return covers_ports(list, entry, {1, UINT16_MAX});
  return std::all_of(entry.ports.begin(), entry.ports.end(),
                     [&](PortRange range) { return covers_ports(list, entry, range); });
}

bool is_narrow(const Target& target) {
  switch (target.kind) {
    case Target::Kind::name:
      return true;
    case Target::Kind::names_below:
      return target.name.find('.') != std::string::npos;
    case Target::Kind::network:
      return target.prefix >= (target.network.is_v4() ? 16 : 32);
  }
  return false;
}

std::string in_quotes(std::string_view text) {
  constexpr size_t kMost = 80;
  std::string shown = "\"";
  for (char c : text.substr(0, kMost)) shown += c < ' ' || c > '~' ? '?' : c;
  return shown + (text.size() > kMost ? "\"..." : "\"");
}

}  // namespace hako::policy
