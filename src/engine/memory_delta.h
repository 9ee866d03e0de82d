// Pages in which a clone's memory differs from that of its snapshot.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/fd.h"

namespace hako::engine {

inline constexpr uint64_t kGuestPage = 4096;  ///< bytes

/// Pages that follow each other, by their number in guest memory.
struct PageRun {
  uint64_t first = 0;
  uint64_t count = 0;
};
uint64_t pages_in(const std::vector<PageRun>& runs);

struct MemoryDelta {
  std::vector<PageRun> runs;  ///< ascending, none touching the next
  Fd pages;                   ///< sealed memfd: what they hold, one run after another
};

/// corrupted unless the runs are in order and within memory of `mib`, and `pages` holds just them.
Result<void> validate(const MemoryDelta& delta, int mib);

/// Room for the contents of pages: a memfd of which all is there before it is needed, so that
/// filling it takes no longer than copying.
class PageBuffer {
 public:
  PageBuffer() = default;
  PageBuffer(PageBuffer&& other) noexcept;
  PageBuffer& operator=(PageBuffer&& other) noexcept;
  PageBuffer(const PageBuffer&) = delete;
  PageBuffer& operator=(const PageBuffer&) = delete;
  ~PageBuffer();

  /// Blocking: some 0.2 ms for each MiB.
  static Result<PageBuffer> make(uint64_t pages);
  /// Makes it that large if it is smaller. What is new is not there yet. Moves data().
  Result<void> grow(uint64_t pages);
  std::byte* data() const { return data_; }
  /// Cuts it to `pages` and seals it. Nothing is left here.
  Result<Fd> finish(uint64_t pages);

 private:
  void unmap();
  Fd file_;
  std::byte* data_ = nullptr;
  size_t bytes_ = 0;
};

/// A memfd (or a part of it) to read from.
class PageView {
 public:
  /// Of all of it. Reading a hole fills it: for files without holes, or for the data in them.
  static Result<PageView> open(int fd);
  PageView(PageView&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}
  PageView& operator=(PageView&&) = delete;
  ~PageView();
  std::span<const std::byte> bytes() const { return bytes_; }

 private:
  explicit PageView(std::span<const std::byte> bytes) : bytes_(bytes) {}
  std::span<const std::byte> bytes_;
};

/// Whether a page at `page` is all zero.
bool is_zero_page(const void* page);

}  // namespace hako::engine
