#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>

#include "base/fd.h"
#include "base/process.h"
#include "image/image.h"

namespace hako::image {

namespace {

using namespace std::chrono_literals;

constexpr char kMke2fs[] = "/sbin/mke2fs";
constexpr auto kDeadline = 60s;
constexpr int kMinMib = 8;
constexpr int kMaxMib = 1 << 20;

/// Every feature is named and the clock and all identifiers are fixed, so that neither the host's
/// mke2fs.conf nor the day changes a byte. No journal and no checksums: they protect a disk against
/// crashes and rot, and this one outlives neither. uninit_bg lets the inode tables stay holes.
ProcessSpec mke2fs_call(const std::string& path, int messages) {
  return {.path = kMke2fs,
          .argv = {"mke2fs",
                   "-q",
                   "-F",
                   "-b",
                   "4096",
                   "-I",
                   "256",
                   "-i",
                   "16384",
                   "-m",
                   "0",
                   "-O",
                   "none,extent,filetype,dir_index,sparse_super2,large_file,huge_file,dir_nlink,"
                   "extra_isize,uninit_bg,flex_bg,ext_attr",
                   "-E",
                   "num_backup_sb=0,lazy_itable_init=1,root_owner=0:0,"
                   "hash_seed=6861b000-0000-4000-8000-68616b6f0003",
                   "-U",
                   "6861b000-0000-4000-8000-68616b6f0002",
                   "-L",
                   "hako-scratch",
                   path},
          .env = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "MKE2FS_CONFIG=/dev/null",
                  "E2FSPROGS_FAKE_TIME=1735689600"},
          .fds = {{messages, 2}}};
}

Task<Result<ExitStatus>> wait_for(Process& process) {
  co_return co_await process.wait();
}

Task<void> finish(Process& process, std::optional<Result<ExitStatus>>& status) {
  status = co_await with_deadline(kDeadline, wait_for(process));
}

/// Runs it to its end; what it has to say goes into the error.
Result<void> run(const ProcessSpec& spec, int messages) {
  asio::io_context context;
  HAKO_TRY(auto process, spawn(context.get_executor(), spec));
  std::optional<Result<ExitStatus>> outcome;
  std::exception_ptr fault;
  asio::co_spawn(context, finish(process, outcome),
                 [&](std::exception_ptr thrown) { fault = thrown; });
  context.run();
  if (fault) std::rethrow_exception(fault);
  Result<ExitStatus>& status = *outcome;
  if (!status) return std::move(status).error().with_context("mke2fs");
  if (status.value().known && status.value().code == 0) return ok();

  char text[512];
  ssize_t n = ::pread(messages, text, sizeof text, 0);
  std::string said(text, n > 0 ? static_cast<size_t>(n) : 0);
  bool full = said.find("No space left") != std::string::npos;
  while (!said.empty() && said.back() == '\n') said.pop_back();
  return Error(full ? ErrorCode::no_space : ErrorCode::internal,
               "mke2fs: " + status.value().describe() + (said.empty() ? "" : ": " + said));
}

Result<void> fill(const std::string& path, const Fd& file, int mib) {
  if (::ftruncate(file.get(), static_cast<off_t>(mib) << 20) < 0)
    return Error::from_errno(errno, "size " + path);
  Fd messages(::memfd_create("mke2fs", MFD_CLOEXEC));
  if (!messages) return Error::from_errno(errno, "memfd_create");
  return run(mke2fs_call(path, messages.get()), messages.get());
}

}  // namespace

Result<void> make_scratch(const std::string& path, int mib) {
  if (mib < kMinMib || mib > kMaxMib)
    return Error(ErrorCode::invalid_argument, "a scratch disk has " + std::to_string(kMinMib) +
                                                  " to " + std::to_string(kMaxMib) + " MiB, not " +
                                                  std::to_string(mib));
  HAKO_TRY(auto file, open_file(path, O_RDWR | O_CREAT | O_EXCL, 0600));
  auto made = fill(path, file, mib);
  if (!made) {
    ::unlink(path.c_str());
    return std::move(made).error().with_context("make scratch disk " + path);
  }
  return ok();
}

}  // namespace hako::image
