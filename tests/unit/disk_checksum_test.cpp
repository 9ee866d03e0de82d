#include "image/disk_checksum.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <span>
#include <string>

#include "base/fd.h"

namespace hako::image {
namespace {

constexpr off_t kSize = 8 << 20;

/// The sum of a file of `size` bytes with `text` at `at`, all else being a hole.
std::string sum_of(uint64_t at, std::string_view text, off_t size = kSize) {
  Fd file(::memfd_create("disk", MFD_CLOEXEC));
  EXPECT_EQ(::ftruncate(file.get(), size), 0);
  EXPECT_TRUE(write_all_at(file.get(), std::as_bytes(std::span(text)), at));
  return checksum_sparse("/proc/self/fd/" + std::to_string(file.get())).value();
}

TEST(DiskChecksum, DoesNotDependOnWhereACopyHasHoles) {
  std::string whole(kSize, '\0');
  whole.replace(5'000'000, 9, "some text");
  EXPECT_EQ(sum_of(5'000'000, "some text"), sum_of(0, whole));
}

TEST(DiskChecksum, SeesWhatHasChanged) {
  std::string as_made = sum_of(5'000'000, "some text");
  EXPECT_NE(as_made, sum_of(5'000'000, "some tex_"));
  EXPECT_NE(as_made, sum_of(5'000'000 + 4096, "some text"));
  EXPECT_NE(as_made, sum_of(5'000'001, "some text"));
  EXPECT_NE(as_made, sum_of(5'000'000, "some text", kSize + 1));
  EXPECT_NE(as_made, sum_of(5'000'000, std::string(9, '\0')));
}

TEST(DiskChecksum, TakesInTheEndThatIsNoWholeBlock) {
  EXPECT_NE(sum_of(kSize, "a", kSize + 1), sum_of(kSize, "b", kSize + 1));
}

}  // namespace
}  // namespace hako::image
