#include "engine/memory_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

namespace hako::engine {

namespace {

constexpr int kSeals = F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

off_t bytes_of(int mib) {
  return static_cast<off_t>(mib) << 20;
}

Result<void> check_size(int fd, int mib) {
  struct stat info {};
  if (::fstat(fd, &info) < 0) return Error::from_errno(errno, "stat guest memory");
  if (info.st_size != bytes_of(mib))
    return Error(ErrorCode::failed_precondition, "guest memory is " + std::to_string(info.st_size) +
                                                     " bytes, not " + std::to_string(mib) + " MiB");
  return ok();
}

}  // namespace

Result<Fd> make_memory_file(int mib) {
  Fd memory(::memfd_create(kGuestMemoryName, MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!memory) return Error::from_errno(errno, "memfd_create");
  if (::ftruncate(memory.get(), bytes_of(mib)) < 0)
    return Error::from_errno(errno, "size guest memory");
  return memory;
}

Result<void> seal_memory_file(int fd, int mib) {
  HAKO_TRYV(check_size(fd, mib));
  if (::fcntl(fd, F_ADD_SEALS, kSeals) < 0) return Error::from_errno(errno, "seal guest memory");
  return ok();
}

Result<void> check_sealed(int fd, int mib) {
  HAKO_TRYV(check_size(fd, mib));
  int seals = ::fcntl(fd, F_GET_SEALS);
  if (seals < 0 || (seals & kSeals) != kSeals)
    return Error(ErrorCode::failed_precondition, "guest memory is not sealed");
  return ok();
}

}  // namespace hako::engine
