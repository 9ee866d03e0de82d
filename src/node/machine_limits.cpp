#include "node/machine_limits.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "base/fd.h"

namespace hako::node {
namespace {

constexpr int64_t kMib = 1 << 20;

}  // namespace

jail::CgroupLimits limits_of_machine(const config::Config& config, const engine::MachineSize& size,
                                     const std::string& disk) {
  jail::CgroupLimits limits;
  if (config.spare_cpu_percent > 0)
    limits.cpu_percent = size.vcpus * 100 + config.spare_cpu_percent;
  if (config.spare_memory_mib > 0) {
    limits.memory_bytes = (int64_t{size.memory_mib} + config.spare_memory_mib) * kMib;
    limits.no_swap = true;
  }
  if (config.vmm_threads > 0) limits.pids = config.vmm_threads;
  engine::DiskRate rate = disk_rate(config);
  if (!disk.empty() && (rate.bytes_per_second > 0 || rate.operations_per_second > 0))
    limits.io = jail::CgroupLimits::Io{disk, rate.bytes_per_second, rate.operations_per_second};
  return limits;
}

jail::CgroupLimits limits_of_all(const config::Config& config, int64_t host_bytes) {
  jail::CgroupLimits limits;
  if (config.boxes_memory_percent > 0 && host_bytes > 0)
    limits.memory_bytes = host_bytes / 100 * config.boxes_memory_percent;
  return limits;
}

engine::DiskRate disk_rate(const config::Config& config) {
  return {config.disk_mib_per_second * kMib, config.disk_operations_per_second};
}

network::SlotLimits slot_limits(const config::Config& config) {
  network::SlotLimits limits;
  limits.mib_per_second = config.network_mib_per_second;
  limits.packets_per_second = config.packets_per_second;
  limits.connects_per_second = config.connects_per_second;
  limits.names_per_second = config.names_per_second;
  return limits;
}

Result<std::string> block_device_of(const std::string& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) < 0) return Error::from_errno(errno, "stat " + path);
  std::string device =
      std::to_string(major(info.st_dev)) + ":" + std::to_string(minor(info.st_dev));
  std::error_code error;
  auto folder = std::filesystem::canonical("/sys/dev/block/" + device, error);
  if (error) return Error(ErrorCode::not_found, path + " is on no disk of its own");
  // Rates are those of whole disks.
  if (std::filesystem::exists(folder / "partition", error)) folder = folder.parent_path();
  HAKO_TRY(auto number, read_file(folder / "dev"));
  return number.substr(0, number.find('\n'));
}

Result<int64_t> host_memory_bytes() {
  long pages = ::sysconf(_SC_PHYS_PAGES), size = ::sysconf(_SC_PAGESIZE);
  if (pages <= 0 || size <= 0) return Error(ErrorCode::internal, "how much memory there is");
  return int64_t{pages} * size;
}

}  // namespace hako::node
