#include "node/host_room.h"

#include <charconv>

#include "base/fd.h"

namespace hako::node {

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

Result<void> check_host_room(const config::Config& config) {
  HAKO_TRY(int64_t disk, free_disk_mib(config.state_dir));
  if (disk < config.min_free_disk_mib) {
    return Error(ErrorCode::no_capacity,
                 "only " + std::to_string(disk) +
                     " MiB of disk are free on this node; creates stop below " +
                     std::to_string(config.min_free_disk_mib));
  }
  HAKO_TRY(int64_t memory, available_memory_mib());
  if (memory < config.min_free_memory_mib) {
    return Error(ErrorCode::no_capacity,
                 "only " + std::to_string(memory) +
                     " MiB of memory are available on this node; creates stop below " +
                     std::to_string(config.min_free_memory_mib));
  }
  return ok();
}

}  // namespace hako::node
