// In every program of a sanitizer build (never in what is installed): how the sanitizers are set,
// and where their findings go. Not by environment variables, as programs here start each other with
// environments of their own.
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cstdint>
#include <initializer_list>

namespace {

/// Above every number that a program is given its descriptors by.
constexpr int kReportFd = 900;

/// Into one file, opened before anything can be confined: of many processes nobody reads what they
/// write to standard error, and some have it closed.
__attribute__((constructor)) void open_report() {
  int file = ::open(HAKO_SANITIZER_REPORT, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
  if (file < 0) return;  // confined by whoever started us: standard error then
  // Each of GCC 12's libraries has a copy of this function, for its own reports; a plain call reaches
  // only the first. A descriptor for each: one library may close that of another.
  for (const char* name : {"libasan.so.8", "libubsan.so.1", "libtsan.so.2"}) {
    void* library = ::dlopen(name, RTLD_NOW | RTLD_NOLOAD);
    void* found = library ? ::dlsym(library, "__sanitizer_set_report_fd") : nullptr;
    int high = found ? ::fcntl(file, F_DUPFD_CLOEXEC, kReportFd) : -1;
    if (high < 0) continue;
    // SAFETY: as sanitizer/common_interface_defs.h declares it: a number in the shape of a pointer.
    auto set = reinterpret_cast<void (*)(void*)>(found);
    set(reinterpret_cast<void*>(static_cast<intptr_t>(high)));
  }
  ::close(file);
}

}  // namespace

extern "C" {

const char* __asan_default_options() { return "detect_leaks=1"; }

const char* __ubsan_default_options() { return "print_stacktrace=1"; }

const char* __tsan_default_options() {
  return "halt_on_error=0:die_after_fork=0:history_size=4:second_deadlock_stack=1";
}

/// The thread that speaks with nftables has descriptors of its own, under numbers that the process has
/// given to others; the sanitizer knows one table for all.
const char* __tsan_default_suppressions() { return "race:network/firewall.cpp\n"; }

/// Leaks are looked for by tracing oneself, which a confined process cannot; it would be ended.
int __lsan_is_turned_off() { return ::prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) != 1; }
}
