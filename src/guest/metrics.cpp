#include "guest/metrics.h"

#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <string_view>

#include "base/fd.h"

namespace hako::guest {
namespace {

uint64_t number_behind(std::string_view text, std::string_view label) {
  size_t at = text.find(label);
  if (at == std::string_view::npos) return 0;
  text.remove_prefix(at + label.size());
  text.remove_prefix(std::min(text.find_first_not_of(' '), text.size()));
  uint64_t number = 0;
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

struct CpuTimes {
  uint64_t busy = 0, total = 0;
};

/// The first line of /proc/stat: user nice system idle iowait irq softirq steal, in ticks.
CpuTimes read_cpu_times() {
  CpuTimes times;
  auto text = read_file("/proc/stat");
  if (!text) return times;
  const char* at = text.value().data() + std::string_view("cpu").size();
  const char* end = text.value().data() + text.value().size();
  for (int field = 0; field < 8; ++field) {
    while (at < end && *at == ' ') ++at;
    uint64_t ticks = 0;
    auto [stop, problem] = std::from_chars(at, end, ticks);
    if (problem != std::errc()) break;
    at = stop;
    times.total += ticks;
    if (field != 3 && field != 4) times.busy += ticks;
  }
  return times;
}

}  // namespace

std::string Metrics::sample() {
  CpuTimes now = read_cpu_times();
  uint64_t total = now.total - last_total_, busy = now.busy - last_busy_;
  double used = total > 0 ? 100.0 * static_cast<double>(busy) / static_cast<double>(total) : 0;
  last_total_ = now.total;
  last_busy_ = now.busy;

  auto meminfo = read_file("/proc/meminfo");
  std::string_view memory = meminfo ? std::string_view(meminfo.value()) : std::string_view();
  uint64_t mem_total = number_behind(memory, "MemTotal:") * 1024;
  uint64_t available = number_behind(memory, "MemAvailable:") * 1024;
  uint64_t cache = number_behind(memory, "\nCached:") * 1024;
  uint64_t mem_used = mem_total > available ? mem_total - available : 0;

  struct statvfs disk {};
  ::statvfs("/", &disk);
  uint64_t disk_total = uint64_t{disk.f_blocks} * disk.f_frsize;
  uint64_t disk_used = uint64_t{disk.f_blocks - disk.f_bfree} * disk.f_frsize;

  char text[512];
  int length = std::snprintf(
      text, sizeof text,
      "{\"ts\":%lld,\"cpu_count\":%ld,\"cpu_used_pct\":%.2f,\"mem_total\":%llu,\"mem_used\":%llu,"
      "\"mem_cache\":%llu,\"disk_used\":%llu,\"disk_total\":%llu,\"mem_total_mib\":%llu,"
      "\"mem_used_mib\":%llu}",
      static_cast<long long>(::time(nullptr)), ::sysconf(_SC_NPROCESSORS_ONLN), used,
      static_cast<unsigned long long>(mem_total), static_cast<unsigned long long>(mem_used),
      static_cast<unsigned long long>(cache), static_cast<unsigned long long>(disk_used),
      static_cast<unsigned long long>(disk_total), static_cast<unsigned long long>(mem_total >> 20),
      static_cast<unsigned long long>(mem_used >> 20));
  return std::string(text, static_cast<size_t>(length));
}

}  // namespace hako::guest
