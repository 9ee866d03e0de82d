#include "guest/network.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <net/route.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "base/fd.h"

namespace hako::guest {
namespace {

constexpr char kLink[] = "eth0";
constexpr int kLinkWaitMs = 5000;
constexpr unsigned char kHostMac[6] = {0x02, 0x68, 0x61, 0x6b, 0x6f, 0x01};

sockaddr address_of(const char* text) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  ::inet_pton(AF_INET, text, &address.sin_addr);
  sockaddr plain;
  static_assert(sizeof plain == sizeof address);
  std::memcpy(&plain, &address, sizeof plain);
  return plain;
}

ifreq request_for(const char* link) {
  ifreq request{};
  std::strncpy(request.ifr_name, link, IFNAMSIZ - 1);
  return request;
}

Result<void> set_up(int socket, const char* link) {
  ifreq request = request_for(link);
  if (::ioctl(socket, SIOCGIFFLAGS, &request) < 0)
    return Error::from_errno(errno, std::string("find ") + link);
  request.ifr_flags = static_cast<short>(request.ifr_flags | IFF_UP | IFF_RUNNING);
  if (::ioctl(socket, SIOCSIFFLAGS, &request) < 0)
    return Error::from_errno(errno, std::string("bring up ") + link);
  return ok();
}

Result<void> wait_for_link(int socket) {
  constexpr int kStepMs = 5;
  for (int waited = 0; waited < kLinkWaitMs; waited += kStepMs) {
    ifreq request = request_for(kLink);
    if (::ioctl(socket, SIOCGIFINDEX, &request) == 0) return ok();
    ::poll(nullptr, 0, kStepMs);
  }
  return Error(ErrorCode::timed_out, std::string("no network device ") + kLink);
}

}  // namespace

Result<void> bring_up_network() {
  Fd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!socket) return Error::from_errno(errno, "network socket");
  HAKO_TRYV(set_up(socket.get(), "lo"));
  HAKO_TRYV(wait_for_link(socket.get()));
  ifreq request = request_for(kLink);
  request.ifr_addr = address_of(kGuestAddress);
  if (::ioctl(socket.get(), SIOCSIFADDR, &request) < 0)
    return Error::from_errno(errno, "set address");
  request.ifr_netmask = address_of(kNetmask);
  if (::ioctl(socket.get(), SIOCSIFNETMASK, &request) < 0)
    return Error::from_errno(errno, "set netmask");
  HAKO_TRYV(set_up(socket.get(), kLink));

  arpreq neighbour{};
  neighbour.arp_pa = address_of(kHostAddress);
  neighbour.arp_ha.sa_family = ARPHRD_ETHER;
  std::memcpy(neighbour.arp_ha.sa_data, kHostMac, sizeof kHostMac);
  neighbour.arp_flags = ATF_PERM | ATF_COM;
  std::strncpy(neighbour.arp_dev, kLink, sizeof neighbour.arp_dev - 1);
  if (::ioctl(socket.get(), SIOCSARP, &neighbour) < 0)
    return Error::from_errno(errno, "set neighbour");

  rtentry route{};
  route.rt_dst = address_of("0.0.0.0");
  route.rt_genmask = address_of("0.0.0.0");
  route.rt_gateway = address_of(kHostAddress);
  route.rt_flags = RTF_UP | RTF_GATEWAY;
  if (::ioctl(socket.get(), SIOCADDRT, &route) < 0)
    return Error::from_errno(errno, "set the default route");
  return ok();
}

}  // namespace hako::guest
