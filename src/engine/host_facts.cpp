#include "engine/host_facts.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

#include "base/process.h"

namespace hako::engine {

namespace {

struct ClockSample {
  uint64_t ticks;
  int64_t nanoseconds;
};

/// Both clocks at one moment: of several tries the one that was disturbed least.
ClockSample sample_clocks() {
  ClockSample best{};
  uint64_t narrowest = UINT64_MAX;
  for (int i = 0; i < 32; ++i) {
    timespec now{};
    uint64_t before = __rdtsc();
    ::clock_gettime(CLOCK_MONOTONIC_RAW, &now);
    uint64_t after = __rdtsc();
    if (after - before >= narrowest) continue;
    narrowest = after - before;
    best = {before + (after - before) / 2, now.tv_sec * INT64_C(1'000'000'000) + now.tv_nsec};
  }
  return best;
}

std::string cpuinfo_field(const std::string& cpuinfo, std::string_view name) {
  for (size_t at = 0; at < cpuinfo.size();) {
    size_t end = std::min(cpuinfo.find('\n', at), cpuinfo.size());
    std::string_view line = std::string_view(cpuinfo).substr(at, end - at);
    at = end + 1;
    if (line.empty()) break;  // end of the first processor
    size_t colon = line.find(':');
    if (colon == std::string_view::npos) continue;
    std::string_view key = line.substr(0, colon);
    while (!key.empty() && (key.back() == '\t' || key.back() == ' ')) key.remove_suffix(1);
    if (key != name) continue;
    std::string_view value = line.substr(colon + 1);
    while (!value.empty() && value.front() == ' ') value.remove_prefix(1);
    return std::string(value);
  }
  return "?";
}

Task<Result<std::string>> read_some_output(Fd pipe) {
  asio::posix::stream_descriptor stream(co_await asio::this_coro::executor, pipe.release());
  std::string text(4096, '\0');
  boost::system::error_code error;
  size_t n = co_await asio::async_read(stream, asio::buffer(text),
                                       asio::redirect_error(asio::use_awaitable, error));
  if (error == asio::error::operation_aborted) throw boost::system::system_error(error);
  text.resize(n);
  co_return text;
}

}  // namespace

Task<int64_t> measure_tsc_khz() {
  ClockSample from = sample_clocks();
  co_await sleep_for(std::chrono::milliseconds(50));
  ClockSample to = sample_clocks();
  auto ticks = static_cast<double>(to.ticks - from.ticks);
  auto nanoseconds = static_cast<double>(to.nanoseconds - from.nanoseconds);
  co_return static_cast<int64_t>(ticks * 1e6 / nanoseconds + 0.5);
}

std::string host_cpu_from(const std::string& cpuinfo) {
  return cpuinfo_field(cpuinfo, "model name") + ", family " + cpuinfo_field(cpuinfo, "cpu family") +
         ", model " + cpuinfo_field(cpuinfo, "model") + ", stepping " +
         cpuinfo_field(cpuinfo, "stepping") + ", microcode " + cpuinfo_field(cpuinfo, "microcode");
}

std::string host_cpu() {
  auto text = read_file("/proc/cpuinfo", 16 << 20);
  return text ? host_cpu_from(text.value()) : "unknown";
}

Task<Result<std::string>> read_vmm_build(std::string binary) {
  struct stat info {};
  if (::stat(binary.c_str(), &info) < 0) co_return Error::from_errno(errno, "find " + binary);

  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) < 0) co_return Error::from_errno(errno, "pipe");
  Fd reading(ends[0]), writing(ends[1]);
  ProcessSpec spec{binary, {binary, "--version"}, {}, {}};
  spec.fds.push_back({writing.get(), 1});
  HAKO_CO_TRY(auto process, spawn(co_await asio::this_coro::executor, spec));
  writing.reset();
  // Killed at the end, so that one which does not stop by itself is no burden.
  HAKO_CO_TRY(auto text, co_await with_deadline(std::chrono::seconds(10),
                                                read_some_output(std::move(reading))));
  std::string version = text.substr(0, text.find('\n'));
  if (version.find("version") == std::string::npos)
    co_return Error(ErrorCode::unsupported, binary + " --version: no version in its answer");
  co_return version + "; size " + std::to_string(info.st_size) + "; modified " +
      std::to_string(info.st_mtim.tv_sec) + "." + std::to_string(info.st_mtim.tv_nsec);
}

}  // namespace hako::engine
