#include "engine/memory_delta.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>

namespace hako::engine {

namespace {

constexpr auto kLongestBusy = std::chrono::seconds(5);
constexpr auto kLookAgain = std::chrono::milliseconds(5);
constexpr int kDeltaSeals = F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

}  // namespace

uint64_t pages_in(const std::vector<PageRun>& runs) {
  uint64_t pages = 0;
  for (const PageRun& run : runs) pages += run.count;
  return pages;
}

Result<void> validate(const MemoryDelta& delta, int mib) {
  const uint64_t memory = (static_cast<uint64_t>(mib) << 20) / kGuestPage;
  uint64_t free_from = 0;  // the next run may begin here
  for (const PageRun& run : delta.runs) {
    if (run.count == 0 || run.first < free_from || run.first >= memory ||
        run.count > memory - run.first)
      return Error(ErrorCode::corrupted, "memory delta: pages out of order or beyond memory");
    free_from = run.first + run.count + 1;
  }
  struct stat info {};
  if (::fstat(delta.pages.get(), &info) < 0) return Error::from_errno(errno, "stat memory delta");
  if (static_cast<uint64_t>(info.st_size) != pages_in(delta.runs) * kGuestPage)
    return Error(ErrorCode::corrupted, "memory delta: not as many pages as it says");
  return ok();
}

PageBuffer::PageBuffer(PageBuffer&& other) noexcept
    : file_(std::move(other.file_)),
      data_(std::exchange(other.data_, nullptr)),
      bytes_(std::exchange(other.bytes_, 0)) {}

PageBuffer& PageBuffer::operator=(PageBuffer&& other) noexcept {
  if (this == &other) return *this;
  unmap();
  file_ = std::move(other.file_);
  data_ = std::exchange(other.data_, nullptr);
  bytes_ = std::exchange(other.bytes_, 0);
  return *this;
}

PageBuffer::~PageBuffer() {
  unmap();
}

void PageBuffer::unmap() {
  if (data_) ::munmap(data_, bytes_);
  data_ = nullptr;
  bytes_ = 0;
}

Result<PageBuffer> PageBuffer::make(uint64_t pages) {
  PageBuffer buffer;
  buffer.file_ = Fd(::memfd_create("hako-memory-delta", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!buffer.file_) return Error::from_errno(errno, "memfd_create");
  HAKO_TRYV(buffer.grow(pages));
  // Where the kernel cannot (before 5.14), the pages come one by one when they are written.
  if (buffer.data_) (void)::madvise(buffer.data_, buffer.bytes_, MADV_POPULATE_WRITE);
  return buffer;
}

Result<void> PageBuffer::grow(uint64_t pages) {
  const size_t wanted = pages * kGuestPage;
  if (wanted <= bytes_) return ok();
  if (::ftruncate(file_.get(), static_cast<off_t>(wanted)) < 0)
    return Error::from_errno(errno, "size memory delta");
  void* moved = data_ ? ::mremap(data_, bytes_, wanted, MREMAP_MAYMOVE)
                      : ::mmap(nullptr, wanted, PROT_READ | PROT_WRITE, MAP_SHARED, file_.get(), 0);
  if (moved == MAP_FAILED) return Error::from_errno(errno, "map memory delta");
  // A child that is being started would go on mapping it until it runs its program.
  (void)::madvise(moved, wanted, MADV_DONTFORK);
  data_ = static_cast<std::byte*>(moved);
  bytes_ = wanted;
  return ok();
}

Result<Fd> PageBuffer::finish(uint64_t pages) {
  unmap();
  if (::ftruncate(file_.get(), static_cast<off_t>(pages * kGuestPage)) < 0)
    return Error::from_errno(errno, "size memory delta");
  // One that was forked just when it had been mapped has it for a little longer.
  auto give_up = std::chrono::steady_clock::now() + kLongestBusy;
  while (::fcntl(file_.get(), F_ADD_SEALS, kDeltaSeals) < 0) {
    if (errno != EBUSY || std::chrono::steady_clock::now() > give_up)
      return Error::from_errno(errno, "seal memory delta");
    std::this_thread::sleep_for(kLookAgain);
  }
  return std::move(file_);
}

Result<PageView> PageView::open(int fd) {
  struct stat info {};
  if (::fstat(fd, &info) < 0) return Error::from_errno(errno, "stat memory");
  if (info.st_size == 0) return PageView(std::span<const std::byte>());
  auto size = static_cast<size_t>(info.st_size);
  void* data = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, fd, 0);
  if (data == MAP_FAILED) return Error::from_errno(errno, "map memory");
  return PageView({static_cast<const std::byte*>(data), size});
}

PageView::~PageView() {
  if (!bytes_.empty()) ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

bool is_zero_page(const void* page) {
  const char* bytes = static_cast<const char*>(page);
  return bytes[0] == 0 && std::memcmp(bytes, bytes + 1, kGuestPage - 1) == 0;
}

}  // namespace hako::engine
