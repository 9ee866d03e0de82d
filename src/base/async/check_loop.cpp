#include "base/async/check_loop.h"

#include <boost/asio/steady_timer.hpp>

#include <filesystem>

#include "base/fd.h"
#include "base/folder.h"

namespace hako {
namespace {

constexpr std::string_view kWatched = "tfd:";  // a line for each descriptor that an epoll watches
constexpr int kOfALoop = 2;                    // its timers, its wake-up

}  // namespace

Result<void> check_loop(asio::io_context& loop) {
  asio::steady_timer makes_its_reactor(loop);
  HAKO_TRY(auto descriptors, names_in("/proc/self/fd"));
  for (const std::string& name : descriptors) {
    std::error_code gone;
    if (std::filesystem::read_symlink("/proc/self/fd/" + name, gone) != "anon_inode:[eventpoll]")
      continue;
    HAKO_TRY(auto about, read_file("/proc/self/fdinfo/" + name));
    int watched = 0;
    for (size_t at = 0; (at = about.find(kWatched, at)) != std::string::npos; ++at) ++watched;
    if (watched < kOfALoop)
      return Error(ErrorCode::unavailable, "the kernel does not watch an event loop's timers or wake-up");
  }
  return ok();
}

}  // namespace hako
