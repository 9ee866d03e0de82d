#include "network/interior.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <map>
#include <vector>

#include "network/firewall.h"
#include "network/netlink.h"

// After the kernel's <linux/if.h>, which it collides with when it comes first.
extern "C" unsigned int if_nametoindex(const char* name);

namespace hako::network {
namespace {

constexpr char kTunDevice[] = "/dev/net/tun";
constexpr char kForwardIsDropped[] = "type filter hook forward priority filter; policy drop;";

struct Sysctl {
  const char* path;
  const char* value;
  bool may_be_missing = false;
};

/// A new namespace takes the IPv4 values of the host, so each that matters is written.
constexpr Sysctl kSysctls[] = {
    // No IPv6 at all, before any interface is up and could make itself an address.
    {"ipv6/conf/all/disable_ipv6", "1", true},
    {"ipv6/conf/default/disable_ipv6", "1", true},
    {"ipv6/conf/all/forwarding", "0", true},
    // Writing this one resets others, so it comes first of IPv4.
    {"ipv4/ip_forward", "0"},
    {"ipv4/conf/all/forwarding", "0"},
    {"ipv4/conf/default/forwarding", "0"},
    // The guest may not speak for other addresses than its own...
    {"ipv4/conf/all/rp_filter", "1"},
    {"ipv4/conf/default/rp_filter", "1"},
    {"ipv4/conf/all/accept_local", "0"},
    {"ipv4/conf/default/accept_local", "0"},
    {"ipv4/conf/all/accept_source_route", "0"},
    {"ipv4/conf/default/accept_source_route", "0"},
    // ...nor tell us where to send things...
    {"ipv4/conf/all/accept_redirects", "0"},
    {"ipv4/conf/default/accept_redirects", "0"},
    {"ipv4/conf/all/send_redirects", "0"},
    {"ipv4/conf/default/send_redirects", "0"},
    // ...nor reach what listens on the namespace's loopback, nor be answered for it.
    {"ipv4/conf/all/route_localnet", "0"},
    {"ipv4/conf/default/route_localnet", "0"},
    {"ipv4/conf/all/arp_ignore", "1"},
    {"ipv4/conf/all/arp_announce", "2"},
    {"ipv4/conf/all/proxy_arp", "0"},
    {"ipv4/conf/default/proxy_arp", "0"},
    // Refusals are never too many for it to hear, and take nothing from the host's own share.
    {"ipv4/icmp_ratemask", "0"},
};

Result<void> set_sysctl(const Sysctl& sysctl) {
  // /proc/sys/net shows the namespace of the thread that opens the file.
  std::string path = std::string("/proc/sys/net/") + sysctl.path;
  auto file = open_file(path, O_WRONLY);
  if (!file) {
    if (sysctl.may_be_missing && file.error().code() == ErrorCode::not_found) return ok();
    return file.error();
  }
  if (auto written = write_all(file.value().get(), sysctl.value); !written)
    return written.error().with_context(path);
  return ok();
}

Result<void> set_sysctls() {
  for (const Sysctl& sysctl : kSysctls) {
    HAKO_TRYV(set_sysctl(sysctl));
  }
  return ok();
}

struct Mac {
  uint8_t bytes[6];
};

Mac parse_mac(const char* text) {
  unsigned parts[6] = {};
  std::sscanf(text, "%x:%x:%x:%x:%x:%x", &parts[0], &parts[1], &parts[2], &parts[3], &parts[4],
              &parts[5]);
  Mac mac;
  for (int i = 0; i < 6; ++i) mac.bytes[i] = static_cast<uint8_t>(parts[i]);
  return mac;
}

in_addr parse_address(const char* text) {
  in_addr address{};
  ::inet_pton(AF_INET, text, &address);
  return address;
}

/// A descriptor attached to the tap, which TUNSETIFF makes if it is missing.
Result<Fd> tun_attach() {
  auto tun = open_file(kTunDevice, O_RDWR | O_NONBLOCK);
  if (!tun) return tun.error().with_context("a slot needs the tun driver");
  ifreq request{};
  std::strcpy(request.ifr_name, kTapName);
  request.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
  if (::ioctl(tun.value().get(), TUNSETIFF, &request) < 0) {
    if (errno == EBUSY)
      return Error(ErrorCode::failed_precondition, "the tap is attached to another descriptor");
    return Error::from_errno(errno, std::string(kTunDevice) + ": attach to the tap");
  }
  return tun;
}

Result<void> make_tap() {
  HAKO_TRY(auto tap, tun_attach());
  if (::ioctl(tap.get(), TUNSETPERSIST, 1) < 0)
    return Error::from_errno(errno, std::string(kTunDevice) + ": make the tap persistent");
  return ok();
}

NetlinkMessage link_up(unsigned index, const Mac* mac) {
  NetlinkMessage message(RTM_NEWLINK, NLM_F_ACK);
  ifinfomsg link{};
  link.ifi_index = static_cast<int>(index);
  link.ifi_flags = IFF_UP;
  link.ifi_change = IFF_UP;
  message.add(link);
  if (mac) message.attribute(IFLA_ADDRESS, mac, sizeof *mac);
  return message;
}

Result<void> bring_up(Netlink& route, unsigned tap) {
  HAKO_TRYV(route.request(link_up(::if_nametoindex("lo"), nullptr), "bring up lo"));

  in_addr host = parse_address(kHostAddress);
  NetlinkMessage address(RTM_NEWADDR, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL);
  ifaddrmsg where{};
  where.ifa_family = AF_INET;
  where.ifa_prefixlen = kPrefixLength;
  where.ifa_scope = RT_SCOPE_UNIVERSE;
  where.ifa_index = tap;
  address.add(where);
  address.attribute(IFA_LOCAL, &host, sizeof host);
  address.attribute(IFA_ADDRESS, &host, sizeof host);
  HAKO_TRYV(route.request(std::move(address), "give the tap its address"));

  Mac mac = parse_mac(kHostMac);
  HAKO_TRYV(route.request(link_up(tap, &mac), "bring up the tap"));

  in_addr guest = parse_address(kGuestAddress);
  Mac guest_mac = parse_mac(kGuestMac);
  NetlinkMessage neighbour(RTM_NEWNEIGH, NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE);
  ndmsg entry{};
  entry.ndm_family = AF_INET;
  entry.ndm_ifindex = static_cast<int>(tap);
  entry.ndm_state = NUD_PERMANENT;
  neighbour.add(entry);
  neighbour.attribute(NDA_DST, &guest, sizeof guest);
  neighbour.attribute(NDA_LLADDR, &guest_mac, sizeof guest_mac);
  return route.request(std::move(neighbour), "set the guest's neighbour entry");
}

/// Whatever the guest sends, and to whomever, has arrived: sockets of this namespace take it.
Result<void> deliver_everything_here(Netlink& netlink) {
  NetlinkMessage message(RTM_NEWROUTE, NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE);
  rtmsg route{};
  route.rtm_family = AF_INET;
  route.rtm_table = RT_TABLE_MAIN;
  route.rtm_protocol = RTPROT_STATIC;
  route.rtm_scope = RT_SCOPE_HOST;
  route.rtm_type = RTN_LOCAL;
  message.add(route);
  message.attribute(RTA_OIF, ::if_nametoindex("lo"));
  return netlink.request(std::move(message), "make every address local");
}

std::string route_text(const rtmsg& route, std::string_view attributes,
                       const std::map<uint32_t, std::string>& names) {
  std::string target = "default", device;
  bool gateway = false;
  for_each_attribute(attributes, [&](uint16_t type, std::string_view content) {
    char text[INET6_ADDRSTRLEN];
    if (type == RTA_DST && ::inet_ntop(route.rtm_family, content.data(), text, sizeof text))
      target = std::string(text) + "/" + std::to_string(route.rtm_dst_len);
    if (type == RTA_OIF) {
      auto name = names.find(as_u32(content));
      if (name != names.end()) device = name->second;
    }
    if (type == RTA_GATEWAY || type == RTA_MULTIPATH || type == RTA_VIA) gateway = true;
  });
  // The link's own route is said by its target alone; anything odd about one shows.
  if (gateway) target += " via a gateway";
  if (device != kTapName) target += " dev " + device;
  return target;
}

Result<bool> forwards() {
  HAKO_TRY(auto v4, read_file("/proc/sys/net/ipv4/conf/all/forwarding"));
  auto v6 = read_file("/proc/sys/net/ipv6/conf/all/forwarding");
  return v4.starts_with('1') || (v6 && v6.value().starts_with('1'));
}

}  // namespace

Result<void> furnish_namespace(const SlotLimits& limits) {
  HAKO_TRYV(set_sysctls());
  HAKO_TRYV(raise_firewall(limits));
  HAKO_TRYV(make_tap());
  HAKO_TRY(auto route, Netlink::open(NETLINK_ROUTE));
  HAKO_TRYV(bring_up(route, ::if_nametoindex(kTapName)));
  return deliver_everything_here(route);
}

Result<void> mend_namespace(const SlotLimits& limits) {
  HAKO_TRYV(set_sysctls());
  HAKO_TRYV(raise_firewall(limits));
  HAKO_TRY(auto route, Netlink::open(NETLINK_ROUTE));
  return deliver_everything_here(route);
}

Result<Fd> attach_tap() {
  // TUNSETIFF would make a missing tap anew, without address and neighbour.
  if (::if_nametoindex(kTapName) == 0)
    return Error(ErrorCode::not_found, "the slot has lost its tap");
  return tun_attach();
}

Result<SlotInspection> inspect_namespace(const SlotLimits& limits) {
  SlotInspection inspection;
  HAKO_TRY(auto netlink, Netlink::open(NETLINK_ROUTE));

  std::map<uint32_t, std::string> names;
  NetlinkMessage links(RTM_GETLINK, NLM_F_DUMP);
  links.add(ifinfomsg{});
  HAKO_TRYV(netlink.dump(std::move(links), "list interfaces", [&](std::string_view answer) {
    ifinfomsg link;
    if (answer.size() < sizeof link) return;
    std::memcpy(&link, answer.data(), sizeof link);
    for_each_attribute(answer.substr(NLMSG_ALIGN(sizeof link)),
                       [&](uint16_t type, std::string_view content) {
                         if (type == IFLA_IFNAME)
                           names[static_cast<uint32_t>(link.ifi_index)] =
                               std::string(content.data(), content.size() - 1);
                       });
  }));
  for (auto& [index, name] : names) inspection.interfaces.push_back(name);

  for (uint8_t family : {AF_INET, AF_INET6}) {
    NetlinkMessage routes(RTM_GETROUTE, NLM_F_DUMP);
    rtmsg which{};
    which.rtm_family = family;
    routes.add(which);
    HAKO_TRYV(netlink.dump(std::move(routes), "list routes", [&](std::string_view answer) {
      rtmsg route;
      if (answer.size() < sizeof route) return;
      std::memcpy(&route, answer.data(), sizeof route);
      if (route.rtm_family != family) return;
      if (route.rtm_type == RTN_LOCAL && family == AF_INET && route.rtm_dst_len == 0)
        inspection.everything_is_local = true;
      if (route.rtm_type != RTN_UNICAST) return;
      inspection.routes.push_back(
          route_text(route, answer.substr(NLMSG_ALIGN(sizeof route)), names));
    }));
  }
  HAKO_TRY(auto forwarding, forwards());
  inspection.forwarding = forwarding;
  HAKO_TRY(inspection.firewall, read_firewall());
  inspection.firewall_is_whole = inspection.firewall == whole_firewall(limits);
  inspection.forwarded_is_dropped =
      std::ranges::find(inspection.firewall, kForwardIsDropped) != inspection.firewall.end();
  return inspection;
}

}  // namespace hako::network
