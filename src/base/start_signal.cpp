#include "base/start_signal.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

namespace hako {
namespace {

constexpr char kVariable[] = "HAKO_START_SIGNAL";
constexpr int kDescriptor = 3;

}  // namespace

Result<StartSignal> StartSignal::add_to(ProcessSpec& spec) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) < 0) return Error::from_errno(errno, "make a pipe");
  StartSignal signal;
  signal.theirs_ = Fd(ends[0]);
  signal.ours_ = Fd(ends[1]);
  spec.fds.push_back({signal.theirs_.get(), kDescriptor});
  spec.env.push_back(std::string(kVariable) + "=" + std::to_string(kDescriptor));
  return signal;
}

void StartSignal::give() {
  // One that has ended meanwhile needs none, and its starter learns of that otherwise.
  (void)!::write(ours_.get(), "", 1);
  ours_.reset();
  theirs_.reset();
}

bool wait_for_start_signal() {
  if (!std::getenv(kVariable)) return true;
  ::unsetenv(kVariable);  // what this process starts has another starter
  Fd signal(kDescriptor);
  char byte;
  ssize_t n;
  do n = ::read(signal.get(), &byte, 1);
  while (n < 0 && errno == EINTR);
  return n == 1;
}

}  // namespace hako
