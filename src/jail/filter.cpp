#include "jail/filter.h"

#include <sched.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>

#include "base/fd.h"

namespace hako::jail {
namespace {

constexpr int kDeadly[] = {
    // Other processes.
    SCMP_SYS(ptrace), SCMP_SYS(process_vm_readv), SCMP_SYS(process_vm_writev), SCMP_SYS(kcmp),
    SCMP_SYS(pidfd_getfd),
    // The file system as a whole.
    SCMP_SYS(mount), SCMP_SYS(umount2), SCMP_SYS(pivot_root), SCMP_SYS(chroot),
    SCMP_SYS(open_by_handle_at), SCMP_SYS(move_mount), SCMP_SYS(fsopen), SCMP_SYS(open_tree),
    SCMP_SYS(mount_setattr),
    // Namespaces, and through them the rest of the kernel.
    SCMP_SYS(setns),
    // The kernel itself.
    SCMP_SYS(init_module), SCMP_SYS(finit_module), SCMP_SYS(delete_module), SCMP_SYS(kexec_load),
    SCMP_SYS(kexec_file_load), SCMP_SYS(bpf), SCMP_SYS(perf_event_open), SCMP_SYS(userfaultfd),
    SCMP_SYS(keyctl), SCMP_SYS(add_key), SCMP_SYS(request_key), SCMP_SYS(iopl), SCMP_SYS(ioperm),
    SCMP_SYS(swapon), SCMP_SYS(reboot), SCMP_SYS(acct), SCMP_SYS(quotactl)};

}  // namespace

std::span<const int> deadly_calls() {
  return kDeadly;
}

Filter::Filter(uint32_t others) : context_(seccomp_init(others), seccomp_release) {
  if (!context_) {
    error_ = ENOMEM;
    return;
  }
  attribute(SCMP_FLTATR_CTL_TSYNC, 1);
  attribute(SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
  // A binary search instead of a list: each call passes through this.
  attribute(SCMP_FLTATR_CTL_OPTIMIZE, 2);
}

void Filter::attribute(scmp_filter_attr which, uint32_t value) {
  if (error_ == 0) error_ = -seccomp_attr_set(context_.get(), which, value);
}

void Filter::rule(uint32_t action, int call, std::initializer_list<scmp_arg_cmp> when) {
  if (error_ == 0)
    error_ = -seccomp_rule_add_array(context_.get(), action, call,
                                     static_cast<unsigned>(when.size()), when.begin());
}

void Filter::allow(std::span<const int> calls) {
  for (int call : calls) rule(SCMP_ACT_ALLOW, call);
}

void Filter::end_process(std::span<const int> calls) {
  for (int call : calls) rule(SCMP_ACT_KILL_PROCESS, call);
}

Result<void> Filter::load() {
  if (error_ == 0) error_ = -seccomp_load(context_.get());
  if (error_ != 0) return Error::from_errno(error_, "confine this process with seccomp");
  return ok();
}

Result<std::vector<sock_filter>> Filter::program() {
  Fd file(::memfd_create("filter", MFD_CLOEXEC));
  if (!file) return Error::from_errno(errno, "memory for a filter");
  if (error_ == 0) error_ = -seccomp_export_bpf(context_.get(), file.get());
  if (error_ != 0) return Error::from_errno(error_, "make a system call filter");
  off_t size = ::lseek(file.get(), 0, SEEK_END);
  std::vector<sock_filter> program(static_cast<size_t>(size) / sizeof(sock_filter));
  if (size <= 0 || ::pread(file.get(), program.data(), static_cast<size_t>(size), 0) != size)
    return Error(ErrorCode::internal, "a filter cannot be read back");
  return program;
}

scmp_arg_cmp equals(unsigned argument, uint64_t value) {
  return {argument, SCMP_CMP_EQ, value, 0};
}

scmp_arg_cmp has_bits(unsigned argument, uint64_t mask, uint64_t value) {
  return {argument, SCMP_CMP_MASKED_EQ, mask, value};
}

void allow_only_threads(Filter& filter) {
  filter.rule(SCMP_ACT_ALLOW, SCMP_SYS(clone), {has_bits(0, CLONE_THREAD, CLONE_THREAD)});
  filter.rule(SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3));
}

}  // namespace hako::jail
