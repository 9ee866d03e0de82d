#include "gate/splice.h"

#include <fcntl.h>
#include <linux/sock_diag.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/async/both.h"

namespace hako::gate {
namespace {

using boost::system::error_code;

/// Larger than the kernel's 64 KiB: fewer calls. A user who has many gets small ones.
constexpr int kPipeSize = 256 << 10;
/// So much is moved in one go before others get their turn.
constexpr size_t kMovedWithoutPause = 1 << 20;
/// Of bytes that splice() does not take.
constexpr size_t kCopySize = 16 << 10;
/// So much is tried after a wait for room: if there is none, there is an error to be seen.
constexpr size_t kLeastRoom = 4 << 10;

Task<Result<void>> wait_until(http::Stream& stream, http::Stream::wait_type what) {
  error_code error;
  co_await stream.async_wait(what, asio::redirect_error(asio::use_awaitable, error));
  if (error == asio::error::operation_aborted) throw boost::system::system_error(error);
  if (error) co_return Error::from_errno(error.value(), "wait");
  co_return ok();
}

/// How many bytes can be sent without a wait, about. 0 where a wait for room does not end at once.
size_t room_in(int socket) {
  uint32_t memory[SK_MEMINFO_VARS] = {};
  socklen_t size = sizeof memory;
  if (::getsockopt(socket, SOL_SOCKET, SO_MEMINFO, memory, &size) != 0) return kPipeSize;
  size_t most = memory[SK_MEMINFO_SNDBUF], used = memory[SK_MEMINFO_WMEM_QUEUED];
  // As tcp_poll() sees it. A part is for the packets that the bytes are in.
  if (most < used + used / 2) return 0;
  return (most - used) / 4 * 3;
}

ssize_t move_some(int from, int to, size_t most) {
  ssize_t n;
  do {
    n = ::splice(from, nullptr, to, nullptr, most, SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
  } while (n < 0 && errno == EINTR);
  return n;
}

/// A pipe for as long as bytes are in it; one that is left with some in it is closed.
class Lease {
 public:
  Lease(PipePool& pool, PipePool::Pipe pipe) : pool_(pool), pipe_(std::move(pipe)) {}
  Lease(const Lease&) = delete;
  Lease& operator=(const Lease&) = delete;
  ~Lease() {
    if (held_ == 0) pool_.give_back(std::move(pipe_));
  }

  /// Bytes taken from `socket`: 0 at its end, -1 with errno.
  ssize_t fill(int socket, size_t most) {
    ssize_t n = move_some(socket, pipe_.write.get(), most);
    if (n > 0) held_ = static_cast<size_t>(n);
    return n;
  }

  Task<Result<void>> empty_into(http::Stream& to) {
    while (held_ > 0) {
      ssize_t n = move_some(pipe_.read.get(), to.native_handle(), held_);
      if (n > 0) {
        held_ -= static_cast<size_t>(n);
      } else if (n < 0 && errno == EAGAIN) {
        HAKO_CO_TRYV(co_await wait_until(to, http::Stream::wait_write));
      } else {
        co_return Error::from_errno(n == 0 ? EPIPE : errno, "send");
      }
    }
    co_return ok();
  }

 private:
  PipePool& pool_;
  PipePool::Pipe pipe_;
  size_t held_ = 0;
};

struct Direction {
  http::Stream& from;
  http::Stream& to;
  PipePool& pipes;
  Meter& meter;
  Way way;
};

/// How many bytes; nothing at the end.
using Passed = Result<std::optional<size_t>>;

/// By way of our own memory: recv() steps over an urgent byte, at which splice() stops for good.
Task<Passed> copy_some(Direction& direction, size_t most) {
  std::vector<char> bytes(std::min(most, kCopySize));
  ssize_t n;
  do {
    n = ::recv(direction.from.native_handle(), bytes.data(), bytes.size(), MSG_DONTWAIT);
  } while (n < 0 && errno == EINTR);
  if (n < 0 && errno == EAGAIN) co_return size_t{0};
  if (n < 0) co_return Error::from_errno(errno, "receive");
  if (n == 0) co_return std::nullopt;
  bytes.resize(static_cast<size_t>(n));
  direction.meter.count(direction.way, bytes.size());
  error_code error;
  co_await asio::async_write(direction.to, asio::buffer(bytes),
                             asio::redirect_error(asio::use_awaitable, error));
  if (error == asio::error::operation_aborted) throw boost::system::system_error(error);
  if (error) co_return Error::from_errno(error.value(), "send");
  co_return bytes.size();
}

/// Moves what is there, and counts it as it is taken: what waits to be sent, others cannot spend
/// again. `readable`: a wait has said that there is something.
Task<Passed> pass_some(Direction& direction, size_t most, bool readable) {
  {
    HAKO_CO_TRY(auto pipe, direction.pipes.take());
    Lease lease(direction.pipes, std::move(pipe));
    ssize_t n = lease.fill(direction.from.native_handle(), most);
    if (n > 0) {
      direction.meter.count(direction.way, static_cast<size_t>(n));
      HAKO_CO_TRYV(co_await lease.empty_into(direction.to));
      co_return static_cast<size_t>(n);
    }
    if (n < 0 && errno != EAGAIN) co_return Error::from_errno(errno, "receive");
    if (n < 0 && !readable) co_return size_t{0};
  }
  // Before an urgent byte it looks to splice() as if nothing, or the end, were there.
  co_return co_await copy_some(direction, most);
}

}  // namespace

Result<PipePool::Pipe> PipePool::take() {
  if (!kept_.empty()) {
    Pipe pipe = std::move(kept_.back());
    kept_.pop_back();
    return pipe;
  }
  int fds[2];
  if (::pipe2(fds, O_CLOEXEC | O_NONBLOCK) != 0) return Error::from_errno(errno, "make a pipe");
  Pipe pipe{Fd(fds[0]), Fd(fds[1])};
  ::fcntl(pipe.write.get(), F_SETPIPE_SZ, kPipeSize);
  return pipe;
}

void PipePool::give_back(Pipe pipe) {
  if (kept_.size() < kMostKept) kept_.push_back(std::move(pipe));
}

Task<Result<void>> splice_one_way(http::Stream& from, http::Stream& to, PipePool& pipes,
                                  Meter& meter, Way way) {
  Direction direction{from, to, pipes, meter, way};
  size_t moved = 0;
  bool readable = false;
  for (;;) {
    // Before a pipe is filled: a side that does not read holds none, however long it takes.
    size_t room = room_in(to.native_handle());
    if (room == 0) {
      HAKO_CO_TRYV(co_await wait_until(to, http::Stream::wait_write));
      room = std::max(room_in(to.native_handle()), kLeastRoom);
      moved = 0;
    }
    co_await meter.pace();
    if (meter.spent()) co_return Error(ErrorCode::resource_exhausted, "all bytes are used up");
    HAKO_CO_TRY(auto count, co_await pass_some(direction, std::min(room, meter.piece()), readable));
    if (!count) break;
    readable = *count == 0;
    if (readable) {
      HAKO_CO_TRYV(co_await wait_until(from, http::Stream::wait_read));
      moved = 0;
      continue;
    }
    moved += *count;
    if (moved < kMovedWithoutPause) continue;
    moved = 0;
    co_await asio::post(from.get_executor(), asio::use_awaitable);
  }
  // The other side may have gone already; then the other direction sees it.
  error_code ignored;
  to.shutdown(http::Stream::shutdown_send, ignored);
  co_return ok();
}

Task<RelayEnd> relay_splice(http::Stream& box, http::Stream& outside, PipePool& pipes,
                            Meter& meter) {
  auto out = splice_one_way(box, outside, pipes, meter, Way::out);
  auto in = splice_one_way(outside, box, pipes, meter, Way::in);
  auto ended = co_await both(std::move(out), std::move(in));
  RelayEnd end;
  end.orderly = ended.has_value();
  end.reason = ended ? "both sides have ended" : ended.error().message();
  co_return end;
}

}  // namespace hako::gate
