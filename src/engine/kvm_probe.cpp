#include "engine/kvm_probe.h"

#include <fcntl.h>
#include <linux/kvm.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/fd.h"
#include "engine/kvm_probe_guest.h"

namespace hako::engine {

namespace {

/// What the child tells the parent: plain data, since it may not allocate.
struct Verdict {
  enum What : int { passed, system_call, exit_reason, wrong_sum, took_too_long, no_api } what;
  const char* step;  ///< a literal; parent and child share their code
  int number;        ///< errno or exit reason
  int suberror;
  uint64_t rip;
  int progress;
  uint8_t bytes[15];
  double exit_microseconds;
};

[[noreturn]] void answer(int pipe, const Verdict& verdict) {
  [[maybe_unused]] ssize_t n = ::write(pipe, &verdict, sizeof verdict);
  ::_exit(0);
}

[[noreturn]] void give_up(int pipe, const char* step) {
  Verdict verdict{};
  verdict.what = Verdict::system_call;
  verdict.step = step;
  verdict.number = errno;
  answer(pipe, verdict);
}

/// The kernel's kvm_cpuid2, whose flexible array has another offset in C++ than in C (an empty
/// struct before it has a size there), so that neither it nor its ioctl numbers can be used.
struct CpuidList {
  uint32_t nent;
  uint32_t padding;
  kvm_cpuid_entry2 entries[256];
};
constexpr unsigned long kGetSupportedCpuid = _IOWR(KVMIO, 0x05, uint64_t);
constexpr unsigned long kSetCpuid2 = _IOW(KVMIO, 0x90, uint64_t);

ProbeFeatures features_in(const CpuidList& list) {
  ProbeFeatures features;
  for (unsigned i = 0; i < list.nent; ++i) {
    const kvm_cpuid_entry2& entry = list.entries[i];
    if (entry.function == 1) {
      features.xsave = entry.ecx & (1u << 26);
      features.popcnt = entry.ecx & (1u << 23);
    }
    if (entry.function == 7 && entry.index == 0) features.smap = entry.ebx & (1u << 20);
    if (entry.function == 0x80000001) features.rdtscp = entry.edx & (1u << 27);
  }
  return features;
}

double microseconds_between(const timespec& from, const timespec& to) {
  return static_cast<double>(to.tv_sec - from.tv_sec) * 1e6 +
         static_cast<double>(to.tv_nsec - from.tv_nsec) / 1e3;
}

/// Only system calls from here on: this is a fork of a process with threads.
[[noreturn]] void run_guest(int pipe, const char* device, int budget_ms, bool host_has_xsave,
                            ProbeDepth depth) {
  struct sigaction action {};
  action.sa_handler = [](int) {};  // without SA_RESTART: KVM_RUN returns EINTR
  ::sigaction(SIGALRM, &action, nullptr);
  itimerval timer{};
  timer.it_value.tv_sec = budget_ms / 1000;
  timer.it_value.tv_usec = budget_ms % 1000 * 1000;
  // Again and again, should the first come between two calls.
  timer.it_interval.tv_usec = 10'000;
  ::setitimer(ITIMER_REAL, &timer, nullptr);

  int kvm = ::open(device, O_RDWR | O_CLOEXEC);
  if (kvm < 0) give_up(pipe, "open");
  if (::ioctl(kvm, KVM_GET_API_VERSION, 0) != 12) {
    Verdict verdict{};
    verdict.what = Verdict::no_api;
    answer(pipe, verdict);
  }
  int vm = ::ioctl(kvm, KVM_CREATE_VM, 0);
  if (vm < 0) give_up(pipe, "KVM_CREATE_VM");
  auto* memory = static_cast<uint8_t*>(
      ::mmap(nullptr, kProbeMemory, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  if (memory == MAP_FAILED) give_up(pipe, "mmap");
  kvm_userspace_memory_region region{};
  region.memory_size = kProbeMemory;
  region.userspace_addr = reinterpret_cast<uintptr_t>(memory);
  if (::ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region) < 0)
    give_up(pipe, "KVM_SET_USER_MEMORY_REGION");
  int vcpu = ::ioctl(vm, KVM_CREATE_VCPU, 0);
  if (vcpu < 0) give_up(pipe, "KVM_CREATE_VCPU");
  if (depth == ProbeDepth::creation) {
    Verdict verdict{};
    verdict.what = Verdict::passed;
    answer(pipe, verdict);
  }
  int run_size = ::ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
  if (run_size < static_cast<int>(sizeof(kvm_run))) give_up(pipe, "KVM_GET_VCPU_MMAP_SIZE");
  auto* run = static_cast<kvm_run*>(
      ::mmap(nullptr, static_cast<size_t>(run_size), PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0));
  if (run == MAP_FAILED) give_up(pipe, "mmap vcpu");

  static CpuidList cpuid;
  cpuid.nent = std::size(cpuid.entries);
  if (::ioctl(kvm, kGetSupportedCpuid, &cpuid) < 0) give_up(pipe, "KVM_GET_SUPPORTED_CPUID");
  if (::ioctl(vcpu, kSetCpuid2, &cpuid) < 0) give_up(pipe, "KVM_SET_CPUID2");
  ProbeFeatures features = features_in(cpuid);
  // A KVM that hides what the processor has cannot run kernels that were built to use it.
  features.xsave = features.xsave || host_has_xsave;

  kvm_sregs system{};
  if (::ioctl(vcpu, KVM_GET_SREGS, &system) < 0) give_up(pipe, "KVM_GET_SREGS");
  kvm_regs general{};
  prepare_probe_guest(memory, features, system, general);
  if (::ioctl(vcpu, KVM_SET_SREGS, &system) < 0) give_up(pipe, "KVM_SET_SREGS");
  if (::ioctl(vcpu, KVM_SET_REGS, &general) < 0) give_up(pipe, "KVM_SET_REGS");

  Verdict verdict{};
  auto stop_here = [&](Verdict::What what, int number) {
    verdict.what = what;
    verdict.number = number;
    verdict.progress = memory[kProbeProgress];
    if (::ioctl(vcpu, KVM_GET_REGS, &general) == 0) {
      verdict.rip = general.rip;
      if (general.rip < kProbeMemory - sizeof verdict.bytes)
        std::memcpy(verdict.bytes, memory + general.rip, sizeof verdict.bytes);
    }
    answer(pipe, verdict);
  };
  timespec first{}, last{};
  for (int exits = 0; exits <= kProbeTimedExits; ++exits) {
    if (::ioctl(vcpu, KVM_RUN, 0) < 0)
      stop_here(errno == EINTR ? Verdict::took_too_long : Verdict::system_call, errno);
    if (run->exit_reason != KVM_EXIT_IO) {
      if (run->exit_reason == KVM_EXIT_INTERNAL_ERROR)
        verdict.suberror = static_cast<int>(run->internal.suberror);
      stop_here(Verdict::exit_reason, static_cast<int>(run->exit_reason));
    }
    if (exits == 0) {
      uint32_t sum = 0;
      std::memcpy(&sum, reinterpret_cast<uint8_t*>(run) + run->io.data_offset, sizeof sum);
      if (run->io.port != kProbePort || run->io.size != 4 || sum != expected_probe_sum(features))
        stop_here(Verdict::wrong_sum, static_cast<int>(sum));
      ::clock_gettime(CLOCK_MONOTONIC, &first);
    }
  }
  ::clock_gettime(CLOCK_MONOTONIC, &last);
  verdict.what = Verdict::passed;
  verdict.exit_microseconds = microseconds_between(first, last) / kProbeTimedExits;
  answer(pipe, verdict);
}

std::string describe(const Verdict& verdict) {
  std::string at = std::string(" at ") + probe_step_name(verdict.progress);
  switch (verdict.what) {
    case Verdict::passed:
      return "guest code runs";
    case Verdict::system_call:
      return std::string(verdict.step ? verdict.step : "KVM_RUN") + ": " +
             std::strerror(verdict.number);
    case Verdict::no_api:
      return "it is not a KVM device";
    case Verdict::wrong_sum:
      return "guest code computed a wrong result";
    case Verdict::took_too_long:
      return "guest code did not finish in time," + at;
    case Verdict::exit_reason:
      break;
  }
  std::string text = "exit " + std::to_string(verdict.number);
  if (verdict.number == KVM_EXIT_INTERNAL_ERROR)
    text += " (internal error " + std::to_string(verdict.suberror) + ")";
  if (verdict.number == KVM_EXIT_SHUTDOWN) text += " (shutdown)";
  char position[128];
  int n = std::snprintf(position, sizeof position, ", address 0x%llx, bytes",
                        static_cast<unsigned long long>(verdict.rip));
  for (size_t i = 0; i < 8; ++i)
    n += std::snprintf(position + n, sizeof position - static_cast<size_t>(n), " %02x",
                       verdict.bytes[i]);
  return text + at + position;
}

bool cpuinfo_has_xsave() {
  auto text = read_file("/proc/cpuinfo", 16 << 20);
  return text && text.value().find(" xsave ") != std::string::npos;
}

bool wait_readable(int fd, std::chrono::milliseconds limit) {
  auto end = std::chrono::steady_clock::now() + limit;
  for (;;) {
    auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        end - std::chrono::steady_clock::now());
    pollfd wait{fd, POLLIN, 0};
    int n = ::poll(&wait, 1, static_cast<int>(std::max<int64_t>(left.count(), 0)));
    if (n >= 0 || errno != EINTR) return n == 1;
  }
}

}  // namespace

KvmProbe probe_kvm(const std::string& device, std::chrono::milliseconds limit, ProbeDepth depth) {
  // Opened, as access(2) does not know of all that may forbid it, such as a device cgroup.
  if (Fd opened(::open(device.c_str(), O_RDWR | O_CLOEXEC)); !opened)
    return {false, "no access to " + device + ": " + std::strerror(errno), 0};
  bool xsave = cpuinfo_has_xsave();
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) < 0) return {false, std::string("pipe: ") + std::strerror(errno), 0};
  Fd reading(ends[0]), writing(ends[1]);
  // The child gives itself half, so that normally it can still say where it got stuck.
  int budget = static_cast<int>(limit.count() / 2);
  pid_t child = ::fork();
  if (child < 0) return {false, std::string("fork: ") + std::strerror(errno), 0};
  if (child == 0) run_guest(writing.get(), device.c_str(), budget, xsave, depth);
  writing.reset();

  Verdict verdict{};
  bool answered = wait_readable(reading.get(), limit) &&
                  ::read(reading.get(), &verdict, sizeof verdict) == sizeof verdict;
  ::kill(child, SIGKILL);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (!answered) {
    bool died = WIFSIGNALED(status) && WTERMSIG(status) != SIGKILL;
    return {false, died ? "the probe was killed by a signal" : "the probe did not end in time", 0};
  }
  if (depth == ProbeDepth::creation && verdict.what == Verdict::passed)
    return {true, "a machine can be created; guest code was not tried", 0};
  return {verdict.what == Verdict::passed, describe(verdict), verdict.exit_microseconds};
}

}  // namespace hako::engine
