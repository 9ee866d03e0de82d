#include "jail/secluded.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "jail/privileges.h"

namespace hako::jail {
namespace {

constexpr int kBacklog = 64;
constexpr const char* kMakeNamespace = "make a network namespace for";

/// What the child needs, prepared before the fork.
struct Seclusion {
  std::vector<sockaddr_in> addresses;
  std::vector<int> sockets;
  int out;  ///< where the listeners are sent
  pid_t parent;
};

union Control {
  char bytes[CMSG_SPACE(sizeof(int) * kMostInnerListeners)];
  cmsghdr aligned;
};

int bring_up_loopback() {
  int socket = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (socket < 0) return errno;
  ifreq request{};
  ::strncpy(request.ifr_name, "lo", sizeof request.ifr_name - 1);
  request.ifr_flags = IFF_UP;
  int error = ::ioctl(socket, SIOCSIFFLAGS, &request) < 0 ? errno : 0;
  ::close(socket);
  return error;
}

int listen_all(Seclusion& plan) {
  for (size_t i = 0; i < plan.addresses.size(); ++i) {
    int socket = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (socket < 0) return errno;
    plan.sockets[i] = socket;
    // SAFETY: the socket interface takes every kind of address as a sockaddr.
    auto* address = reinterpret_cast<const sockaddr*>(&plan.addresses[i]);
    if (::bind(socket, address, sizeof plan.addresses[i]) < 0) return errno;
    if (::listen(socket, kBacklog) < 0) return errno;
  }
  return 0;
}

int send_all(Seclusion& plan) {
  char byte = 0;
  iovec piece{&byte, 1};
  Control control{};
  msghdr message{};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  size_t size = sizeof(int) * plan.sockets.size();
  if (size > 0) {
    message.msg_control = control.bytes;
    message.msg_controllen = CMSG_SPACE(size);
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(size);
    ::memcpy(CMSG_DATA(header), plan.sockets.data(), size);
  }
  return ::sendmsg(plan.out, &message, MSG_NOSIGNAL) < 0 ? errno : 0;
}

/// Runs in the child: async-signal-safe calls only.
int seclude(void* context, const char** what) {
  Seclusion& plan = *static_cast<Seclusion*>(context);
  *what = kMakeNamespace;
  // Its rights in the user namespace end with exec, as no user is mapped into it.
  if (::unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0) return errno;
  *what = "bring up loopback for";
  if (int error = bring_up_loopback()) return error;
  *what = "listen for";
  if (int error = listen_all(plan)) return error;
  *what = "hand over the listeners of";
  if (int error = send_all(plan)) return error;
  *what = "give up privileges for";
  if (int error = forbid_core_dumps()) return error;
  if (int error = forbid_new_privileges()) return error;
  // Only now: new credentials clear it.
  if (::prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0) return errno;
  return ::getppid() == plan.parent ? 0 : ESRCH;
}

Result<std::vector<Fd>> receive(int from, size_t count) {
  char byte = 0;
  iovec piece{&byte, 1};
  Control control{};
  msghdr message{};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  message.msg_control = control.bytes;
  message.msg_controllen = sizeof control.bytes;
  if (::recvmsg(from, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT) < 0)
    return Error::from_errno(errno, "take a child's listeners");
  std::vector<Fd> taken;
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header; header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    for (size_t i = 0; i < (header->cmsg_len - CMSG_LEN(0)) / sizeof(int); ++i) {
      int fd = -1;
      ::memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof fd);
      taken.emplace_back(fd);
    }
  }
  if (taken.size() != count) return Error(ErrorCode::internal, "a child's listeners are missing");
  return taken;
}

}  // namespace

Result<Secluded> launch_secluded(asio::any_io_executor executor, const ProcessSpec& spec,
                                 const std::vector<InnerListener>& listeners) {
  if (listeners.size() > kMostInnerListeners)
    return Error(ErrorCode::invalid_argument, "too many listeners for one child");
  HAKO_TRY(auto pair, socket_pair(SOCK_STREAM));
  Seclusion plan;
  plan.sockets.resize(listeners.size(), -1);
  plan.parent = ::getpid();
  // Above every number that the child's own descriptors will take.
  int lowest = 3;
  for (const FdMapping& mapping : spec.fds) lowest = std::max(lowest, mapping.childs + 1);
  Fd out(::fcntl(pair.second.get(), F_DUPFD_CLOEXEC, lowest));
  if (!out) return Error::from_errno(errno, "copy a descriptor");
  plan.out = out.get();
  for (const InnerListener& each : listeners) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(each.port);
    if (::inet_pton(AF_INET, each.address.c_str(), &address.sin_addr) != 1)
      return Error(ErrorCode::invalid_argument, each.address + " is no IPv4 address");
    plan.addresses.push_back(address);
  }
  auto process = spawn(executor, spec, ChildSetup{seclude, &plan});
  if (!process) {
    if (process.error().message().find(kMakeNamespace) == std::string::npos) return process.error();
    return Error(ErrorCode::unsupported,
                 "this machine lets no unprivileged process make a user and a network namespace "
                 "(user.max_user_namespaces, kernel.unprivileged_userns_clone): " +
                     process.error().message());
  }
  HAKO_TRY(auto taken, receive(pair.first.get(), listeners.size()));
  return Secluded{std::move(process).value(), std::move(taken)};
}

}  // namespace hako::jail
