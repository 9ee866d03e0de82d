#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "engine/engine.h"
#include "engine/memory_file.h"

namespace hako::engine {

namespace {

/// Copies what the base has in pages [first, end).
Result<void> copy_base(int base, std::span<const std::byte> bytes, uint64_t first, uint64_t end,
                       int target) {
  auto position = static_cast<off_t>(first * kGuestPage);
  const auto limit = static_cast<off_t>(end * kGuestPage);
  while (position < limit) {
    off_t data = ::lseek(base, position, SEEK_DATA);
    if (data < 0 && errno == ENXIO) break;  // only a hole is left
    if (data < 0) return Error::from_errno(errno, "seek guest memory");
    off_t hole = ::lseek(base, data, SEEK_HOLE);
    if (hole < 0) return Error::from_errno(errno, "seek guest memory");
    hole = std::min(hole, limit);
    if (data >= hole) break;
    auto at = static_cast<size_t>(data);
    HAKO_TRYV(write_all_at(target, bytes.subspan(at, static_cast<size_t>(hole - data)), at));
    position = hole;
  }
  return ok();
}

/// Writes pages to `first` and on, and leaves those that are zero out.
Result<void> write_nonzero(int target, std::span<const std::byte> pages, uint64_t first) {
  for (size_t at = 0; at < pages.size();) {
    size_t end = at;
    while (end < pages.size() && !is_zero_page(&pages[end])) end += kGuestPage;
    HAKO_TRYV(write_all_at(target, pages.subspan(at, end - at), first * kGuestPage + at));
    at = end + kGuestPage;
  }
  return ok();
}

}  // namespace

Result<Snapshot> materialise(const Snapshot& base, const Checkpoint& over) {
  if (over.base != snapshot_id(base))
    return Error(ErrorCode::failed_precondition, "checkpoint is of another snapshot's clone");
  const int mib = base.size.memory_mib;
  HAKO_TRYV(check_sealed(base.memory.get(), mib));
  HAKO_TRYV(validate(over.memory, mib));
  HAKO_TRY(auto below, PageView::open(base.memory.get()));
  HAKO_TRY(auto above, PageView::open(over.memory.pages.get()));
  // lseek moves an offset that others have a part in, if they have this open file.
  HAKO_TRY(auto base_file,
           open_file("/proc/self/fd/" + std::to_string(base.memory.get()), O_RDONLY));

  Snapshot made{base.size, base.fingerprint, over.device_state, Fd()};
  HAKO_TRY(made.memory, make_memory_file(mib));
  const int target = made.memory.get();
  uint64_t page = 0;
  size_t taken = 0;
  for (const PageRun& run : over.memory.runs) {
    HAKO_TRYV(copy_base(base_file.get(), below.bytes(), page, run.first, target));
    auto part = above.bytes().subspan(taken, run.count * kGuestPage);
    HAKO_TRYV(write_nonzero(target, part, run.first));
    taken += part.size();
    page = run.first + run.count;
  }
  const uint64_t end = (static_cast<uint64_t>(mib) << 20) / kGuestPage;
  HAKO_TRYV(copy_base(base_file.get(), below.bytes(), page, end, target));
  HAKO_TRYV(seal_memory_file(target, mib));
  return made;
}

}  // namespace hako::engine
