#include "support/guest_stack.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cstdlib>
#include <cstring>
#include <stdexcept>

namespace hako::test {
namespace {

constexpr size_t kLargestFrame = 65'600;
constexpr unsigned char kHost[6] = {0x02, 0x68, 0x61, 0x6b, 0x6f, 0x01};

template <class T>
T need(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().message());
  return std::move(result).value();
}

Result<Fd> make_eth0() {
  HAKO_TRY(auto tun, open_file("/dev/net/tun", O_RDWR | O_NONBLOCK));
  ifreq request{};
  std::strcpy(request.ifr_name, "eth0");
  request.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
  if (::ioctl(tun.get(), TUNSETIFF, &request) < 0) return Error::from_errno(errno, "make eth0");
  std::string host = network::kHostAddress;
  std::string command = std::string("ip link set eth0 address ") + network::kGuestMac +
                        " && ip addr add " + network::kGuestAddress + "/30 dev eth0" +
                        " && ip link set lo up && ip link set eth0 up" + " && ip neigh replace " +
                        host + " lladdr " + network::kHostMac + " dev eth0 nud permanent" +
                        " && ip route add default via " + host;
  if (std::system(command.c_str()) != 0) return Error(ErrorCode::internal, "ip failed");
  return tun;
}

Result<Fd> open_wire() {
  Fd wire(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0));
  sockaddr_ll where{};
  where.sll_family = AF_PACKET;
  where.sll_ifindex = static_cast<int>(::if_nametoindex("eth0"));
  if (!wire || ::bind(wire.get(), reinterpret_cast<sockaddr*>(&where), sizeof where) < 0)
    return Error::from_errno(errno, "open eth0");
  return wire;
}

uint16_t checksum(const void* data, size_t size) {
  uint32_t sum = 0;
  auto bytes = static_cast<const unsigned char*>(data);
  for (size_t i = 0; i + 1 < size; i += 2)
    sum += static_cast<uint32_t>(bytes[i] << 8 | bytes[i + 1]);
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return htons(static_cast<uint16_t>(~sum));
}

}  // namespace

GuestStack::GuestStack(const network::Slot& slot)
    : tap_(need(network::open_tap(slot))), stop_(::eventfd(0, EFD_CLOEXEC)) {
  auto made = network::in_new_namespace([this]() -> Result<void> {
    HAKO_TRY(netns_, network::current_namespace());
    HAKO_TRY(eth0_, make_eth0());
    HAKO_TRY(wire_, open_wire());
    return ok();
  });
  if (!made) throw std::runtime_error(made.error().message());
  carrier_ = std::thread([this] { carry(); });
}

GuestStack::~GuestStack() {
  uint64_t one = 1;
  (void)!::write(stop_.get(), &one, sizeof one);
  carrier_.join();
}

void GuestStack::carry() {
  std::string frame(kLargestFrame, '\0');
  pollfd ends[] = {{eth0_.get(), POLLIN, 0}, {tap_.get(), POLLIN, 0}, {stop_.get(), POLLIN, 0}};
  while (::poll(ends, 3, -1) > 0 && !(ends[2].revents & POLLIN)) {
    for (int from : {0, 1}) {
      ssize_t size = ::read(ends[from].fd, frame.data(), frame.size());
      if (size > 0) (void)!::write(ends[1 - from].fd, frame.data(), static_cast<size_t>(size));
    }
  }
}

Fd GuestStack::socket(int type, int protocol) const {
  return need(inside([&]() -> Result<Fd> {
    Fd made(::socket(AF_INET, type | SOCK_CLOEXEC, protocol));
    if (!made) return Error::from_errno(errno, "socket");
    timeval limit{3, 0};
    ::setsockopt(made.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    ::setsockopt(made.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    return made;
  }));
}

int GuestStack::connect(const Fd& socket, const std::string& address, uint16_t port) const {
  sockaddr_in target{};
  target.sin_family = AF_INET;
  target.sin_port = htons(port);
  ::inet_pton(AF_INET, address.c_str(), &target.sin_addr);
  bool stands =
      ::connect(socket.get(), reinterpret_cast<sockaddr*>(&target), sizeof target) == 0;
  return stands ? 0 : errno;
}

void GuestStack::send_frame(uint16_t type, const std::string& content, bool to_all) const {
  ether_header header{};
  if (to_all)
    std::memset(header.ether_dhost, 0xff, sizeof header.ether_dhost);
  else
    std::memcpy(header.ether_dhost, kHost, sizeof kHost);
  std::memcpy(header.ether_shost, kHost, sizeof kHost);
  header.ether_shost[5] = 0x02;
  header.ether_type = htons(type);
  std::string frame(reinterpret_cast<const char*>(&header), sizeof header);
  frame += content;
  if (::send(wire_.get(), frame.data(), frame.size(), 0) < 0)
    throw std::runtime_error("cannot send a frame");
}

void GuestStack::send_udp(const std::string& source, const std::string& target, uint16_t port,
                          const std::string& text, bool to_all) const {
  udphdr udp{};  // its checksum may be left out
  udp.source = htons(4000);
  udp.dest = htons(port);
  udp.len = htons(static_cast<uint16_t>(sizeof udp + text.size()));
  iphdr ip{};
  ip.version = 4;
  ip.ihl = 5;
  ip.ttl = 64;
  ip.protocol = IPPROTO_UDP;
  ip.tot_len = htons(static_cast<uint16_t>(sizeof ip + sizeof udp + text.size()));
  ::inet_pton(AF_INET, source.c_str(), &ip.saddr);
  ::inet_pton(AF_INET, target.c_str(), &ip.daddr);
  ip.check = checksum(&ip, sizeof ip);
  std::string packet(reinterpret_cast<const char*>(&ip), sizeof ip);
  packet.append(reinterpret_cast<const char*>(&udp), sizeof udp);
  send_frame(ETHERTYPE_IP, packet + text, to_all);
}

}  // namespace hako::test
