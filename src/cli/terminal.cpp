#include "cli/terminal.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <csignal>

namespace hako::cli {

bool is_terminal(int fd) {
  return ::isatty(fd) == 1;
}

wire::PtySize terminal_size() {
  for (int fd : {STDOUT_FILENO, STDIN_FILENO, STDERR_FILENO}) {
    winsize size{};
    if (::ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 && size.ws_row > 0)
      return wire::PtySize{.cols = size.ws_col, .rows = size.ws_row};
  }
  return {};
}

RawMode::RawMode() {
  termios mode{};
  if (::tcgetattr(STDIN_FILENO, &mode) != 0) return;
  before_ = mode;
  ::cfmakeraw(&mode);
  ::tcsetattr(STDIN_FILENO, TCSADRAIN, &mode);
}

RawMode::~RawMode() {
  if (before_) ::tcsetattr(STDIN_FILENO, TCSADRAIN, &*before_);
}

Interrupts::Interrupts(asio::any_io_executor executor)
    : signals_(std::move(executor), SIGINT, SIGTERM, SIGHUP) {}

void Interrupts::start(TaskGroup& tasks) {
  tasks.spawn("signals", listen());
}

Task<void> Interrupts::listen() {
  while (true) {
    int number = co_await signals_.async_wait(asio::use_awaitable);
    (first_ ? second_ : first_) = number;
    changed_.notify_all();
  }
}

Task<int> Interrupts::wait() {
  while (!first_) co_await changed_.wait();
  co_return *first_;
}

Task<int> Interrupts::wait_again() {
  while (!second_) co_await changed_.wait();
  co_return *second_;
}

}  // namespace hako::cli
