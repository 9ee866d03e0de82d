#include "cli/streams.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>

namespace hako::cli {

Task<Result<size_t>> TextSource::read_some(asio::mutable_buffer into) {
  size_t count = std::min(into.size(), text_.size() - taken_);
  std::copy_n(text_.data() + taken_, count, static_cast<char*>(into.data()));
  taken_ += count;
  co_return count;
}

SharedDescriptor::SharedDescriptor(int fd)
    : fd_(fd), wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  struct stat status {};
  may_block_midway_ =
      ::fstat(fd, &status) == 0 && (S_ISFIFO(status.st_mode) || S_ISSOCK(status.st_mode));
  // Larger pieces per trip to the box; what cannot be had is done without.
  if (may_block_midway_) ::fcntl(fd, F_SETPIPE_SZ, 1 << 20);
}

SharedDescriptor::~SharedDescriptor() {
  uint64_t one = 1;
  [[maybe_unused]] ssize_t n = ::write(wake_.get(), &one, sizeof one);
  thread_.join();
}

Result<short> SharedDescriptor::wait_for(short events) {
  pollfd waited[2] = {{fd_, events, 0}, {wake_.get(), POLLIN, 0}};
  while (::poll(waited, 2, -1) < 0)
    if (errno != EINTR) return Error::from_errno(errno, "poll");
  if (waited[1].revents) return Error(ErrorCode::cancelled, "cancelled");
  return waited[0].revents;
}

Result<size_t> SharedDescriptor::read_here(char* into, size_t size) {
  size_t filled = 0;
  while (filled < size) {
    if (filled == 0) {
      HAKO_TRY(auto ready, wait_for(POLLIN));
      if (ready & POLLNVAL) return size_t{0};
    } else {
      pollfd more{fd_, POLLIN, 0};
      if (::poll(&more, 1, 0) != 1 || !(more.revents & POLLIN)) break;
    }
    ssize_t n = ::read(fd_, into + filled, size - filled);
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    // A terminal that has gone away is an end of input.
    if (n < 0 && errno == EIO) break;
    if (n < 0) {
      if (filled > 0) break;
      return Error::from_errno(errno, "read standard input");
    }
    if (n == 0) break;
    filled += static_cast<size_t>(n);
  }
  return filled;
}

Result<size_t> SharedDescriptor::write_here(const char* bytes, size_t size) {
  size_t done = 0;
  while (done < size) {
    HAKO_TRY(auto ready, wait_for(POLLOUT));
    static_cast<void>(ready);
    size_t piece = may_block_midway_ ? std::min<size_t>(size - done, PIPE_BUF) : size - done;
    ssize_t n = ::write(fd_, bytes + done, piece);
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (n < 0) return Error::from_errno(errno, "write output");
    done += static_cast<size_t>(n);
  }
  return done;
}

Result<size_t> SharedDescriptor::wait_closed_here() {
  HAKO_TRY(auto ready, wait_for(0));
  static_cast<void>(ready);
  return size_t{0};
}

template <class Work>
Task<Result<size_t>> SharedDescriptor::on_thread(Work& work) {
  auto executor = co_await asio::this_coro::executor;
  // Behind this point only the wait below may end early, and it sees to the thread.
  auto state = co_await asio::this_coro::cancellation_state;
  if (state.cancelled() != asio::cancellation_type::none)
    throw boost::system::system_error(asio::error::operation_aborted);
  std::optional<Result<size_t>> result;
  bool cancelled = false;
  asio::steady_timer done(executor, asio::steady_timer::time_point::max());
  asio::post(thread_, [&] {
    auto outcome = work();
    asio::post(executor, [&, outcome = std::move(outcome)]() mutable {
      result.emplace(std::move(outcome));
      done.cancel();
    });
  });
  while (!result) {
    boost::system::error_code ended;
    co_await done.async_wait(asio::redirect_error(asio::use_awaitable, ended));
    if (result) break;
    // Ours was the wait that was cancelled; the thread still uses what belongs to the caller.
    cancelled = true;
    co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
    uint64_t one = 1;
    [[maybe_unused]] ssize_t n = ::write(wake_.get(), &one, sizeof one);
  }
  if (cancelled) {
    uint64_t drained;
    [[maybe_unused]] ssize_t n = ::read(wake_.get(), &drained, sizeof drained);
    throw boost::system::system_error(asio::error::operation_aborted);
  }
  co_return std::move(*result);
}

Task<Result<size_t>> SharedDescriptor::read_some(asio::mutable_buffer into) {
  auto work = [this, into] { return read_here(static_cast<char*>(into.data()), into.size()); };
  co_return co_await on_thread(work);
}

Task<Result<void>> SharedDescriptor::write(asio::const_buffer bytes) {
  auto work = [this, bytes] {
    return write_here(static_cast<const char*>(bytes.data()), bytes.size());
  };
  HAKO_CO_TRY(auto written, co_await on_thread(work));
  static_cast<void>(written);
  co_return ok();
}

Task<Result<void>> SharedDescriptor::closed_by_reader() {
  auto work = [this] { return wait_closed_here(); };
  HAKO_CO_TRY(auto closed, co_await on_thread(work));
  static_cast<void>(closed);
  co_return ok();
}

}  // namespace hako::cli
