// Unix sockets: listening, accepting known users, connecting.
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/log.h"
#include "rpc/peer.h"

namespace hako::rpc {
namespace {

constexpr size_t kMostConnections = 1024;
constexpr int kBacklog = 128;

Result<sockaddr_un> address_of(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path)
    return Error(ErrorCode::invalid_argument, "socket path is empty or too long: " + path);
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  return address;
}

Result<Fd> make_socket() {
  Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!socket) return Error::from_errno(errno, "unix socket");
  return socket;
}

int connect_to(int socket, const sockaddr_un& address) {
  int result;
  do {
    result = ::connect(socket, reinterpret_cast<const sockaddr*>(&address), sizeof address);
  } while (result < 0 && errno == EINTR);
  return result < 0 ? errno : 0;
}

/// Removes a socket that nobody listens on any more.
Result<void> remove_stale(const std::string& path, const sockaddr_un& address) {
  struct stat info {};
  if (::lstat(path.c_str(), &info) < 0) {
    if (errno == ENOENT) return ok();
    return Error::from_errno(errno, "stat " + path);
  }
  if (!S_ISSOCK(info.st_mode))
    return Error(ErrorCode::already_exists, path + " exists and is no socket");
  HAKO_TRY(auto probe, make_socket());
  int error = connect_to(probe.get(), address);
  // EAGAIN: somebody listens and is busy.
  if (error == 0 || error == EAGAIN)
    return Error(ErrorCode::already_exists, "another process listens on " + path);
  if (error != ECONNREFUSED) return Error::from_errno(error, "probe " + path);
  if (::unlink(path.c_str()) < 0 && errno != ENOENT)
    return Error::from_errno(errno, "remove stale " + path);
  return ok();
}

Task<void> serve_one(std::function<Task<void>(Fd, uid_t)>& serve, Fd connection, uid_t uid) {
  auto task = serve(std::move(connection), uid);
  co_await std::move(task);
}

Task<void> accept_loop(asio::posix::stream_descriptor& listener,
                       const std::vector<uid_t>& allowed_uids,
                       std::function<Task<void>(Fd, uid_t)>& serve, TaskGroup& connections) {
  for (;;) {
    co_await listener.async_wait(asio::posix::stream_descriptor::wait_read, asio::use_awaitable);
    Fd connection(
        ::accept4(listener.native_handle(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!connection) {
      // No descriptors or memory left: the connection stays pending, so waiting again would spin.
      if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)
        co_await sleep_for(std::chrono::milliseconds(50));
      else if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
        throw boost::system::system_error(errno, boost::system::system_category(), "accept");
      continue;
    }
    ucred credentials{};
    socklen_t size = sizeof credentials;
    if (::getsockopt(connection.get(), SOL_SOCKET, SO_PEERCRED, &credentials, &size) < 0) continue;
    uid_t uid = credentials.uid;
    bool known =
        uid == 0 || std::find(allowed_uids.begin(), allowed_uids.end(), uid) != allowed_uids.end();
    if (!known || connections.size() >= kMostConnections) {
      log_warn(known ? "rpc_too_many_connections" : "rpc_unknown_user", {{"uid", uid}});
      continue;
    }
    connections.spawn("rpc_connection", serve_one(serve, std::move(connection), uid));
  }
}

}  // namespace

Result<Fd> listen_unix(const std::string& path, gid_t gid, mode_t mode) {
  HAKO_TRY(auto address, address_of(path));
  HAKO_TRYV(remove_stale(path, address));
  HAKO_TRY(auto socket, make_socket());
  if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) < 0)
    return Error::from_errno(errno, "bind " + path);
  // Nobody can connect before listen(), so there is no moment with looser permissions.
  if (::lchown(path.c_str(), static_cast<uid_t>(-1), gid) < 0)
    return Error::from_errno(errno, "chown " + path);
  if (::chmod(path.c_str(), mode) < 0) return Error::from_errno(errno, "chmod " + path);
  if (::listen(socket.get(), kBacklog) < 0) return Error::from_errno(errno, "listen on " + path);
  return socket;
}

Task<void> accept_peers(Fd listener, std::vector<uid_t> allowed_uids,
                        std::function<Task<void>(Fd connection, uid_t uid)> serve) {
  auto executor = co_await asio::this_coro::executor;
  asio::posix::stream_descriptor socket(executor, listener.release());
  TaskGroup connections(executor);
  std::exception_ptr fault;
  try {
    co_await accept_loop(socket, allowed_uids, serve, connections);
  } catch (...) {
    fault = std::current_exception();
  }
  socket.close();
  co_await shield_from_cancellation();
  co_await connections.stop();
  std::rethrow_exception(fault);
}

Task<Result<Fd>> connect_unix(std::string path) {
  HAKO_CO_TRY(auto address, address_of(path));
  HAKO_CO_TRY(auto socket, make_socket());
  // EAGAIN means that the listener's queue is full; that does not make the socket waitable.
  constexpr int kTries = 100;
  for (int tries = 0;; ++tries) {
    int error = connect_to(socket.get(), address);
    if (error == 0) co_return std::move(socket);
    // Both of them mean that the other side is not there yet or no longer.
    if (error == ENOENT || error == ECONNREFUSED)
      co_return Error(ErrorCode::unavailable, "nobody listens on " + path);
    if (error != EAGAIN || tries == kTries)
      co_return Error::from_errno(error, "connect to " + path);
    co_await sleep_for(std::chrono::milliseconds(10));
  }
}

}  // namespace hako::rpc
