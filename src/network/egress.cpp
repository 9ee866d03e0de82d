#include "network/egress.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>

namespace hako::network {
namespace {

/// Connections that wait to be accepted: as many as a box may have open by default.
constexpr int kBacklog = 256;
constexpr uint16_t kDnsPort = 53;

struct Option {
  int level;
  int name;
  const char* text;
};

/// A socket at `port` of every address there is.
Result<Fd> bound_socket(int type, uint16_t port, std::initializer_list<Option> options) {
  Fd socket(::socket(AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!socket) return Error::from_errno(errno, "open egress socket");
  int on = 1;
  for (const Option& option : options)
    if (::setsockopt(socket.get(), option.level, option.name, &on, sizeof on) < 0)
      return Error::from_errno(errno, std::string("set ") + option.text);
  sockaddr_in any{};
  any.sin_family = AF_INET;
  any.sin_port = htons(port);
  if (::bind(socket.get(), reinterpret_cast<sockaddr*>(&any), sizeof any) < 0)
    return Error::from_errno(errno, "bind egress socket to port " + std::to_string(port));
  return socket;
}

constexpr Option kReusePort = {SOL_SOCKET, SO_REUSEPORT, "SO_REUSEPORT"};
constexpr Option kTransparent = {IPPROTO_IP, IP_TRANSPARENT, "IP_TRANSPARENT"};
constexpr Option kPacketInfo = {IPPROTO_IP, IP_PKTINFO, "IP_PKTINFO"};

}  // namespace

Result<EgressSockets> make_egress_sockets() {
  EgressSockets sockets;
  HAKO_TRY(sockets.listener, bound_socket(SOCK_STREAM, kEgressPort, {kReusePort, kTransparent}));
  if (::listen(sockets.listener.get(), kBacklog) < 0)
    return Error::from_errno(errno, "listen for egress");
  HAKO_TRY(sockets.dns,
           bound_socket(SOCK_DGRAM, kDnsPort, {kReusePort, kTransparent, kPacketInfo}));
  return sockets;
}

}  // namespace hako::network
