#include "engine/process_memory.h"

#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>

#include "engine/memory_file.h"

namespace hako::engine {

namespace {

/// A line of a maps file, as far as it matters.
struct MapsLine {
  uint64_t start = 0;
  uint64_t end = 0;
  bool shared = false;
  uint64_t offset = 0;
};

bool take_hex(std::string_view& text, uint64_t& number, char after) {
  auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), number, 16);
  auto used = static_cast<size_t>(rest - text.data());
  if (error != std::errc() || used >= text.size() || text[used] != after) return false;
  text.remove_prefix(used + 1);
  return true;
}

/// "start-end perms offset device inode  path"
bool parse_maps_line(std::string_view text, MapsLine& line) {
  constexpr size_t kPermissions = 5;  // with the space after them
  if (!take_hex(text, line.start, '-') || !take_hex(text, line.end, ' ')) return false;
  if (text.size() < kPermissions) return false;
  line.shared = text[3] == 's';
  text.remove_prefix(kPermissions);
  return take_hex(text, line.offset, ' ') && line.start < line.end;
}

Error no_such_memory(std::string_view why) {
  return Error(ErrorCode::failed_precondition, "VMM's memory: " + std::string(why));
}

/// What an OS error means that a VMM's memory was asked for with.
Error of_process(int os_error, std::string_view what) {
  if (os_error == ESRCH || os_error == ENOENT)
    return Error(ErrorCode::unavailable, std::string(what) + ": the VMM has gone");
  return Error::from_errno(os_error, what);
}

using Transfer = ssize_t (*)(pid_t, const iovec*, unsigned long, const iovec*, unsigned long,
                             unsigned long);

/// Copies between `local` and the pages of `runs`, as many as one call takes at once.
Result<void> transfer(Transfer call, const char* what, pid_t pid, const GuestMapping& memory,
                      const std::vector<PageRun>& runs, std::byte* local) {
  constexpr size_t kMostParts = 1024;       // IOV_MAX
  constexpr uint64_t kMostPages = 1 << 18;  // a call moves less than 2 GiB
  std::array<iovec, kMostParts> parts;
  size_t run = 0;
  uint64_t done = 0;  // pages of that run
  while (run < runs.size()) {
    size_t count = 0;
    uint64_t pages = 0;
    while (run < runs.size() && count < kMostParts && pages < kMostPages) {
      uint64_t part = std::min(runs[run].count - done, kMostPages - pages);
      uint64_t address = memory.address + (runs[run].first + done) * kGuestPage;
      parts[count++] = {reinterpret_cast<void*>(address), part * kGuestPage};
      pages += part;
      done += part;
      if (done == runs[run].count) {
        ++run;
        done = 0;
      }
    }
    iovec here{local, pages * kGuestPage};
    ssize_t moved = call(pid, &here, 1, parts.data(), count, 0);
    if (moved < 0) return of_process(errno, what);
    if (static_cast<uint64_t>(moved) != pages * kGuestPage)
      return Error(ErrorCode::unavailable, std::string(what) + ": not all of it is there");
    local += pages * kGuestPage;
  }
  return ok();
}

}  // namespace

Result<GuestMapping> guest_memory_from(std::string_view maps) {
  const std::string name = "/memfd:" + std::string(kGuestMemoryName) + " (deleted)";
  GuestMapping found;
  while (!maps.empty()) {
    std::string_view text = maps.substr(0, maps.find('\n'));
    maps.remove_prefix(std::min(maps.size(), text.size() + 1));
    MapsLine line;
    if (!text.ends_with(name) || !parse_maps_line(text, line)) continue;
    if (line.shared) return no_such_memory("it is not a clone's, but a template's own");
    // It may be cut into pieces that differ in their flags.
    if (line.offset != found.bytes ||
        (found.bytes > 0 && line.start != found.address + found.bytes))
      return no_such_memory("not mapped in one piece");
    if (found.bytes == 0) found.address = line.start;
    found.bytes += line.end - line.start;
  }
  if (found.bytes == 0) return no_such_memory("there is none");
  return found;
}

Result<GuestMapping> find_guest_memory(pid_t pid) {
  auto maps = read_file("/proc/" + std::to_string(pid) + "/maps", 4 << 20);
  if (!maps) {
    if (maps.error().os_error() != 0) return of_process(maps.error().os_error(), "read maps");
    return maps.error();
  }
  if (maps.value().empty())  // it has ended, and nobody has reaped it
    return Error(ErrorCode::unavailable, "read maps: the VMM has gone");
  return guest_memory_from(maps.value());
}

Result<std::vector<PageRun>> private_pages(pid_t pid, const GuestMapping& memory) {
  constexpr uint64_t kPresent = uint64_t{1} << 63;
  constexpr uint64_t kSwapped = uint64_t{1} << 62;
  constexpr uint64_t kOfFile = uint64_t{1} << 61;
  auto pagemap = open_file("/proc/" + std::to_string(pid) + "/pagemap", O_RDONLY);
  if (!pagemap) return of_process(pagemap.error().os_error(), "open pagemap");

  std::vector<PageRun> runs;
  std::vector<uint64_t> entries(16384);
  const uint64_t pages = memory.bytes / kGuestPage;
  for (uint64_t page = 0; page < pages;) {
    uint64_t wanted = std::min<uint64_t>(entries.size(), pages - page);
    auto offset = static_cast<off_t>((memory.address / kGuestPage + page) * sizeof(uint64_t));
    ssize_t n = ::pread(pagemap.value().get(), entries.data(), wanted * sizeof(uint64_t), offset);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return of_process(errno, "read pagemap");
    if (n < static_cast<ssize_t>(sizeof(uint64_t)))
      return Error(ErrorCode::unavailable, "read pagemap: the VMM has gone");
    auto got = static_cast<uint64_t>(n) / sizeof(uint64_t);
    for (uint64_t i = 0; i < got; ++i) {
      // A page in swap counts as private, although it may be one of the file that is just being
      // moved: its content is right in any case.
      uint64_t entry = entries[i];
      bool own = (entry & kSwapped) || ((entry & kPresent) && !(entry & kOfFile));
      if (!own) continue;
      if (!runs.empty() && runs.back().first + runs.back().count == page + i)
        ++runs.back().count;
      else
        runs.push_back({page + i, 1});
    }
    page += got;
  }
  return runs;
}

Result<void> read_pages(pid_t pid, const GuestMapping& memory, const std::vector<PageRun>& runs,
                        std::byte* to) {
  return transfer(::process_vm_readv, "read guest memory", pid, memory, runs, to);
}

Result<void> write_pages(pid_t pid, const GuestMapping& memory, const MemoryDelta& delta) {
  HAKO_TRYV(validate(delta, static_cast<int>(memory.bytes >> 20)));
  HAKO_TRY(auto pages, PageView::open(delta.pages.get()));
  // Only read from here.
  auto* local = const_cast<std::byte*>(pages.bytes().data());
  return transfer(::process_vm_writev, "write guest memory", pid, memory, delta.runs, local);
}

}  // namespace hako::engine
