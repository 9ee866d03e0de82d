#include "guest/connections.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <set>
#include <vector>

#include "base/fd.h"
#include "guest/daemon.h"
#include "guest/network.h"

namespace hako::guest {
namespace {

using Address = std::array<unsigned char, 16>;  ///< of IPv6; of IPv4 as ::ffff:a.b.c.d

struct Connection {
  unsigned char family = AF_INET;
  inet_diag_sockid id{};
};

struct Request {
  nlmsghdr header{};
  inet_diag_req_v2 body{};
};

constexpr size_t kAnswerSize = 16 << 10;

Address mapped(const void* four) {
  Address address{};
  address[10] = address[11] = 0xff;
  std::memcpy(address.data() + 12, four, 4);
  return address;
}

Address mapped(const char* text) {
  in_addr four{};
  ::inet_pton(AF_INET, text, &four);
  return mapped(&four);
}

/// The other end of a connection.
Address remote_of(const Connection& connection) {
  if (connection.family == AF_INET) return mapped(connection.id.idiag_dst);
  Address address;
  std::memcpy(address.data(), connection.id.idiag_dst, address.size());
  return address;
}

class Places {
 public:
  Places() {
    ifaddrs* list = nullptr;
    if (::getifaddrs(&list) < 0) return;
    for (const ifaddrs* entry = list; entry; entry = entry->ifa_next) {
      if (!entry->ifa_addr) continue;
      // SAFETY: the family says which structure the address is.
      if (entry->ifa_addr->sa_family == AF_INET)
        own_.insert(mapped(&reinterpret_cast<const sockaddr_in*>(entry->ifa_addr)->sin_addr));
      if (entry->ifa_addr->sa_family != AF_INET6) continue;
      Address address;
      std::memcpy(address.data(),
                  &reinterpret_cast<const sockaddr_in6*>(entry->ifa_addr)->sin6_addr,
                  address.size());
      own_.insert(address);
    }
    ::freeifaddrs(list);
  }

  bool is_inside(const Address& address) const {
    static const Address four = mapped("127.0.0.0");
    bool loopback = std::memcmp(address.data(), four.data(), 13) == 0;
    return loopback || own_.contains(address);
  }

 private:
  std::set<Address> own_;
};

Result<void> send_request(int socket, const Request& request) {
  if (::send(socket, &request, sizeof request, 0) < 0)
    return Error::from_errno(errno, "ask for connections");
  return ok();
}

Error cannot_end() {
  return Error(ErrorCode::unsupported, "this kernel cannot end connections");
}

Request request_for(unsigned char family, uint16_t type, uint16_t flags) {
  Request request;
  request.header.nlmsg_len = sizeof request;
  request.header.nlmsg_type = type;
  request.header.nlmsg_flags = static_cast<uint16_t>(NLM_F_REQUEST | flags);
  request.body.sdiag_family = family;
  request.body.sdiag_protocol = IPPROTO_TCP;
  return request;
}

/// Calls `use` with each message of an answer; it says whether there is more to come.
template <class Use>
Result<void> read_answer(int socket, Use use) {
  alignas(nlmsghdr) char buffer[kAnswerSize];
  for (bool more = true; more;) {
    ssize_t size = ::recv(socket, buffer, sizeof buffer, 0);
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) return Error::from_errno(errno, "read connections");
    auto left = static_cast<unsigned>(size);
    // SAFETY: the kernel aligns messages, and NLMSG_OK checks that each is whole.
    for (auto* header = reinterpret_cast<const nlmsghdr*>(buffer); more && NLMSG_OK(header, left);
         header = NLMSG_NEXT(header, left)) {
      // The end of a list and the answer to an order both begin with how it went.
      if (header->nlmsg_type == NLMSG_DONE || header->nlmsg_type == NLMSG_ERROR) {
        int outcome = 0;
        if (header->nlmsg_len >= NLMSG_LENGTH(sizeof outcome))
          std::memcpy(&outcome, NLMSG_DATA(header), sizeof outcome);
        if (outcome < 0) return Error::from_errno(-outcome, "ask for connections");
        more = false;
      } else {
        use(NLMSG_DATA(header));
      }
    }
  }
  return ok();
}

Result<void> list(int socket, unsigned char family, std::vector<Connection>& into) {
  auto request = request_for(family, SOCK_DIAG_BY_FAMILY, NLM_F_DUMP);
  // Nobody waits on those in TIME_WAIT.
  request.body.idiag_states = ~(1u << TCP_LISTEN | 1u << TCP_TIME_WAIT);
  HAKO_TRYV(send_request(socket, request));
  auto listed = read_answer(socket, [&](const void* message) {
    auto* told = static_cast<const inet_diag_msg*>(message);
    into.push_back({told->idiag_family, told->id});
  });
  // The module that knows them is not there.
  if (!listed && listed.error().os_error() == ENOENT) return cannot_end();
  return listed;
}

/// False: it was none any more.
Result<bool> end(int socket, const Connection& connection) {
  auto request = request_for(connection.family, SOCK_DESTROY, NLM_F_ACK);
  request.body.idiag_states = ~0u;
  request.body.id = connection.id;
  HAKO_TRYV(send_request(socket, request));
  auto ended = read_answer(socket, [](const void*) {});
  if (ended) return true;
  if (ended.error().os_error() == ENOENT) return false;  // by itself, meanwhile
  if (ended.error().os_error() == EOPNOTSUPP) return cannot_end();
  return std::move(ended).error();
}

}  // namespace

Result<size_t> cut_connections(uint16_t kept_port) {
  Fd socket(::socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_SOCK_DIAG));
  if (!socket && errno == EPROTONOSUPPORT) return cannot_end();
  if (!socket) return Error::from_errno(errno, "ask for connections");
  std::vector<Connection> all;
  for (unsigned char family : {AF_INET, AF_INET6}) {
    HAKO_TRYV(list(socket.get(), family, all));
  }
  const Places places;
  const Address host = mapped(kHostAddress);
  size_t count = 0;
  for (const Connection& connection : all) {
    Address remote = remote_of(connection);
    if (places.is_inside(remote)) continue;
    bool kept = remote == host && ntohs(connection.id.idiag_sport) == kDaemonPort &&
                ntohs(connection.id.idiag_dport) == kept_port;
    if (kept) continue;
    HAKO_TRY(bool ended, end(socket.get(), connection));
    count += ended ? 1 : 0;
  }
  return count;
}

}  // namespace hako::guest
