#include "guest/generation.h"

#include <fcntl.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdio>
#include <string>

#include "base/fd.h"

namespace hako::guest {
namespace {

std::optional<int64_t> parse_generation(std::string_view text) {
  int64_t value = 0;
  auto [stop, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (problem != std::errc() || stop == text.data() || value < 0) return std::nullopt;
  std::string_view rest(stop, text.size() - static_cast<size_t>(stop - text.data()));
  if (!rest.empty() && rest != "\n") return std::nullopt;
  return value;
}

Result<int64_t> read_generation(const char* file) {
  HAKO_TRY(auto text, read_file(file));
  auto value = parse_generation(text);
  if (!value) return Error(ErrorCode::corrupted, std::string(file) + " holds no number");
  return *value;
}

}  // namespace

Result<void> tell_generation(int64_t generation, const char* file) {
  // Root in the box may have put anything in its place: what is no file must not hold us up.
  constexpr int kFlags = O_WRONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK;
  HAKO_TRY(auto fd, open_file(file, kFlags, 0644));
  std::string text = std::to_string(generation) + "\n";
  auto size = static_cast<ssize_t>(text.size());
  if (::pwrite(fd.get(), text.data(), text.size(), 0) != size)
    return Error::from_errno(errno, std::string("write ") + file);
  if (::ftruncate(fd.get(), size) < 0)
    return Error::from_errno(errno, std::string("write ") + file);
  return ok();
}

Result<int64_t> wait_for_generation(std::optional<int64_t> known, const char* file) {
  Fd events(::inotify_init1(IN_CLOEXEC));
  if (!events) return Error::from_errno(errno, "watch for changes");
  // Before the first look: what changes behind it is told.
  if (::inotify_add_watch(events.get(), file, IN_MODIFY) < 0)
    return Error::from_errno(errno, std::string("watch ") + file);
  for (;;) {
    HAKO_TRY(int64_t now, read_generation(file));
    if (!known) known = now;
    if (now != *known) return now;
    char buffer[4096];
    if (::read(events.get(), buffer, sizeof buffer) < 0 && errno != EINTR)
      return Error::from_errno(errno, std::string("watch ") + file);
  }
}

int wait_generation(int argc, char** argv) {
  std::optional<int64_t> known;
  if (argc == 2) known = parse_generation(argv[1]);
  if (argc > 2 || (argc == 2 && !known)) {
    std::fputs(
        "usage: wait-generation [KNOWN]\n"
        "  Waits until the generation of this machine is another than KNOWN (by default,\n"
        "  than it is now), and prints it.\n",
        stderr);
    return 2;
  }
  auto now = wait_for_generation(known);
  if (!now) {
    std::fprintf(stderr, "wait-generation: %s\n", now.error().message().c_str());
    return 1;
  }
  std::printf("%lld\n", static_cast<long long>(now.value()));
  return 0;
}

}  // namespace hako::guest
