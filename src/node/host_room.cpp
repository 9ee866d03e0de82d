#include "node/host_room.h"

#include <sys/statvfs.h>

#include <cerrno>
#include <charconv>

#include "base/fd.h"

namespace hako::node {

Result<int64_t> free_disk_mib(const std::string& path) {
  struct statvfs info {};
  if (::statvfs(path.c_str(), &info) < 0) return Error::from_errno(errno, "statvfs " + path);
  return static_cast<int64_t>(info.f_bavail * info.f_frsize >> 20);
}

Result<int64_t> available_memory_mib() {
  HAKO_TRY(auto text, read_file("/proc/meminfo"));
  constexpr std::string_view kName = "MemAvailable:";
  size_t position = text.find(kName);
  if (position == std::string::npos)
    return Error(ErrorCode::internal, "/proc/meminfo has no MemAvailable");
  position = text.find_first_not_of(' ', position + kName.size());
  int64_t kib = 0;
  std::from_chars(text.data() + position, text.data() + text.size(), kib);
  return kib / 1024;
}

}  // namespace hako::node
