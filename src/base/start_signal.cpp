#include "base/start_signal.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
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
  spec.env.emplace_back("HAKO_START_SIGNAL=1");
  return signal;
}

void StartSignal::give() {
  (void)!::write(ours_.get(), "", 1);
  ours_.reset();
  theirs_.reset();
}

bool wait_for_start_signal() {
  if (!std::getenv(kVariable)) return true;
  ::unsetenv(kVariable);  // what this process starts has another starter
  Fd signal(kDescriptor);
  char byte;
  ssize_t n = -1;
  struct stat what {};
  if (::fstat(signal.get(), &what) == 0 && S_ISFIFO(what.st_mode)) {
    do n = ::read(signal.get(), &byte, 1);
    while (n < 0 && errno == EINTR);
  }
  if (n == 1) return true;
  std::fprintf(stderr, "%s is set, but whoever set it has ended or gives no signal\n", kVariable);
  return false;
}

}  // namespace hako
