// Sockets: daemons of this machine, its loopback, other VMMs, the world.
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/netlink.h>
#include <linux/vm_sockets.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "support/jail_probe.h"

namespace hako::jail_probe {
namespace {

int make_socket(int family, int type, int protocol) {
  return result_of(::socket(family, type, protocol));
}

/// With an '@' first: an abstract one, without a file.
int connect_local(const std::string& name) {
  int socket = ::socket(AF_UNIX, SOCK_STREAM, 0);
  if (socket < 0) return errno;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  size_t length = std::min(name.size(), sizeof address.sun_path - 1);
  std::memcpy(address.sun_path, name.data(), length);
  if (address.sun_path[0] == '@') address.sun_path[0] = 0;
  socklen_t size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + length);
  if (name[0] != '@') size = sizeof address;
  return result_of(::connect(socket, reinterpret_cast<sockaddr*>(&address), size));
}

/// Waits where another VMM could look for it.
int offer_local(const std::string& name) {
  int socket = ::socket(AF_UNIX, SOCK_STREAM, 0);
  if (socket < 0) return errno;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path + 1, name.data(), name.size());
  socklen_t size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
  return result_of(::bind(socket, reinterpret_cast<sockaddr*>(&address), size));
}

int connect_tcp(const std::string& port) {
  int socket = ::socket(AF_INET, SOCK_STREAM, 0);
  if (socket < 0) return errno;
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(std::atoi(port.c_str())));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return result_of(::connect(socket, reinterpret_cast<sockaddr*>(&address), sizeof address));
}

int send_udp(const std::string& port) {
  int socket = ::socket(AF_INET, SOCK_DGRAM, 0);
  if (socket < 0) return errno;
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(std::atoi(port.c_str())));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return result_of(
      ::sendto(socket, "x", 1, 0, reinterpret_cast<sockaddr*>(&address), sizeof address));
}

int send_udp6(const std::string& port) {
  int socket = ::socket(AF_INET6, SOCK_DGRAM, 0);
  if (socket < 0) return errno;
  sockaddr_in6 address{};
  address.sin6_family = AF_INET6;
  address.sin6_port = htons(static_cast<uint16_t>(std::atoi(port.c_str())));
  address.sin6_addr = in6addr_loopback;
  return result_of(
      ::sendto(socket, "x", 1, 0, reinterpret_cast<sockaddr*>(&address), sizeof address));
}

int netlink(const std::string&) {
  return make_socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
}

int raw_ip(const std::string&) {
  return make_socket(AF_INET, SOCK_RAW, IPPROTO_ICMP);
}

int packets(const std::string&) {
  return make_socket(AF_PACKET, SOCK_RAW, 0x0300);
}

/// What a pull has, and in it all rights over the network.
int own_network() {
  return result_of(::unshare(CLONE_NEWUSER | CLONE_NEWNET));
}

/// The kernel looks at the lower half of the type only.
int raw_ip_in_own_network(const std::string&) {
  if (int error = own_network()) return error;
  return result_of(::syscall(SYS_socket, AF_INET, (uint64_t{1} << 32) | SOCK_RAW, IPPROTO_ICMP));
}

int packets_in_own_network(const std::string&) {
  if (int error = own_network()) return error;
  return result_of(::syscall(SYS_socket, AF_INET, SOCK_PACKET, 0x0300));
}

int packet_filter_in_own_network(const std::string&) {
  if (int error = own_network()) return error;
  int socket = ::socket(AF_INET, SOCK_DGRAM, 0);
  if (socket < 0) return errno;
  constexpr int kReplaceTable = 64;  // IPT_SO_SET_REPLACE
  int nothing = 0;
  long set = ::syscall(SYS_setsockopt, socket, (uint64_t{1} << 32) | IPPROTO_IP, kReplaceTable,
                       &nothing, sizeof nothing);
  // A kernel without them has nothing that could be reached.
  if (set < 0 && errno == ENOPROTOOPT) return ENOSYS;
  return allowed_if(set, EINVAL);
}

int vsock(const std::string&) {
  return make_socket(AF_VSOCK, SOCK_STREAM, 0);
}

int socket_pair(const std::string&) {
  int ends[2];
  return result_of(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends));
}

int shared_memory(const std::string& key) {
  return result_of(::shmget(std::atoi(key.c_str()), 0, 0));
}

constexpr Attempt kAttempts[] = {
    {"connect-local", connect_local},
    {"offer-local", offer_local},
    {"connect-tcp", connect_tcp},
    {"send-udp", send_udp},
    {"send-udp6", send_udp6},
    {"netlink", netlink},
    {"raw-ip-in-own-network", raw_ip_in_own_network},
    {"packets-in-own-network", packets_in_own_network},
    {"packet-filter-in-own-network", packet_filter_in_own_network},
    {"raw-ip", raw_ip},
    {"packets", packets},
    {"vsock", vsock},
    {"socket-pair", socket_pair},
    {"shared-memory", shared_memory},
};

}  // namespace

std::span<const Attempt> socket_attempts() {
  return kAttempts;
}

}  // namespace hako::jail_probe
