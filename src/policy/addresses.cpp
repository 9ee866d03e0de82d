// Which addresses can be on the public internet: the registries of special addresses (RFC 6890 and
// what IANA has added to it), and what clouds have put beside them.
#include <algorithm>

#include "policy/target_match.h"

namespace hako::policy {
namespace {

using Bytes4 = std::array<uint8_t, 4>;
using Bytes16 = std::array<uint8_t, 16>;

struct Range4 {
  Bytes4 first;
  int prefix;
};

constexpr Range4 kNotPublic4[] = {
    {{0, 0, 0, 0}, 8},          // this network; 0.0.0.0 is the host itself
    {{10, 0, 0, 0}, 8},         // private
    {{100, 64, 0, 0}, 10},      // shared, behind carriers' NAT; some clouds' metadata
    {{127, 0, 0, 0}, 8},        // loopback
    {{168, 63, 129, 16}, 32},   // Azure's services for its own machines
    {{169, 254, 0, 0}, 16},     // link-local; most clouds' metadata
    {{172, 16, 0, 0}, 12},      // private
    {{192, 0, 0, 0}, 24},       // protocol assignments; Oracle's metadata
    {{192, 0, 2, 0}, 24},       // documentation
    {{192, 88, 99, 0}, 24},     // 6to4 relays, given up
    {{192, 168, 0, 0}, 16},     // private
    {{198, 18, 0, 0}, 15},      // benchmarking; our own synthetic addresses
    {{198, 51, 100, 0}, 24},    // documentation
    {{203, 0, 113, 0}, 24},     // documentation
    {{224, 0, 0, 0}, 4},        // multicast
    {{240, 0, 0, 0}, 4},        // reserved; 255.255.255.255 is broadcast
};

struct Range6 {
  Bytes16 first;
  int prefix;
};

/// Within 2000::/3.
constexpr Range6 kNotPublic6[] = {
    {{0x20, 0x01}, 23},              // protocol assignments: Teredo, benchmarking, ORCHID
    {{0x20, 0x01, 0x0d, 0xb8}, 32},  // documentation
    {{0x3f, 0xff}, 20},              // documentation
};

constexpr Range6 kGlobalUnicast = {{0x20}, 3};
constexpr Range6 k6to4 = {{0x20, 0x02}, 16};
constexpr Range6 kNat64 = {{0x00, 0x64, 0xff, 0x9b}, 96};

template <class Range, class Bytes>
bool lies_in(const Range& range, const Bytes& bytes) {
  for (int bit = 0; bit < range.prefix; ++bit) {
    uint8_t mask = uint8_t(0x80 >> (bit % 8));
    if ((range.first[size_t(bit / 8)] ^ bytes[size_t(bit / 8)]) & mask) return false;
  }
  return true;
}

bool is_public4(const Bytes4& bytes) {
  return std::none_of(std::begin(kNotPublic4), std::end(kNotPublic4),
                      [&](const Range4& range) { return lies_in(range, bytes); });
}

Bytes4 four_at(const Bytes16& bytes, size_t offset) {
  return {bytes[offset], bytes[offset + 1], bytes[offset + 2], bytes[offset + 3]};
}

/// An interface identifier that makes routers with ISATAP send to the IPv4 address in it.
bool is_isatap(const Bytes16& bytes) {
  return (bytes[8] & ~0x03) == 0 && bytes[9] == 0 && bytes[10] == 0x5e && bytes[11] == 0xfe;
}

std::optional<Bytes4> carried_by(const Bytes16& bytes) {
  if (lies_in(kNat64, bytes)) return four_at(bytes, 12);
  if (lies_in(k6to4, bytes)) return four_at(bytes, 2);
  return std::nullopt;
}

bool is_public6(const Bytes16& bytes) {
  auto carried = carried_by(bytes);
  if (carried && !is_public4(*carried)) return false;
  if (lies_in(kNat64, bytes)) return true;
  if (!lies_in(kGlobalUnicast, bytes)) return false;
  if (is_isatap(bytes) && !is_public4(four_at(bytes, 12))) return false;
  return std::none_of(std::begin(kNotPublic6), std::end(kNotPublic6),
                      [&](const Range6& range) { return lies_in(range, bytes); });
}

}  // namespace

std::optional<boost::asio::ip::address_v4> embedded_v4(const boost::asio::ip::address& address) {
  if (!address.is_v6()) return std::nullopt;
  auto carried = carried_by(address.to_v6().to_bytes());
  if (!carried) return std::nullopt;
  return boost::asio::ip::address_v4(*carried);
}

bool is_public(const boost::asio::ip::address& address) {
  auto plain = unmapped(address);
  return plain.is_v4() ? is_public4(plain.to_v4().to_bytes())
                       : is_public6(plain.to_v6().to_bytes());
}

}  // namespace hako::policy
