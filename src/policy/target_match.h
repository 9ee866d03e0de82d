// What the entries of a list match, and which entries lie within others.
#pragma once

#include "policy/egress.h"

namespace hako::policy {

/// Whether `name` can exist in DNS as we write it: lower-case labels of letters, digits, '-' and
/// '_', 253 bytes at most, the last label not a number (that would be an address).
bool can_be_name(std::string_view name);

/// An IPv4 address that was mapped into IPv6 as what it is; others unchanged.
boost::asio::ip::address unmapped(const boost::asio::ip::address& address);

/// The IPv4 address to which NAT64 or 6to4 takes what is sent to an IPv6 address.
std::optional<boost::asio::ip::address_v4> embedded_v4(const boost::asio::ip::address& address);

/// "0.0.0.0/0": every address, IPv6 too, and every name, as E2B's clients mean it.
bool is_everything(const Target& target);

bool matches_port(const Target& target, uint16_t port);
/// The ports aside. Only names and "everything" match a name.
bool matches_name(const Target& target, std::string_view name);
/// The ports aside. Only networks match an address; a mapped one as what it is.
bool matches_address(const Target& target, const boost::asio::ip::address& address);

/// Whether all that `entry` matches is matched by `list`, without putting two networks or two names
/// of the list together (their ports are).
bool covers(const std::vector<Target>& list, const Target& entry);

/// Whether a list may hold it and still be a list, not the internet under another name: an exact
/// name, all names below one that has a dot, a network of /16 (IPv6: /32) or smaller.
bool is_narrow(const Target& target);

/// For messages: in quotes, on one line, cut after 80 bytes.
std::string in_quotes(std::string_view text);

}  // namespace hako::policy
