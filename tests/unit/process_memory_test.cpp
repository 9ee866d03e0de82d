// Guest memory in a process: this one.
#include "engine/process_memory.h"

#include <gtest/gtest.h>

#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>

#include "engine/memory_file.h"

namespace hako::engine {
namespace {

constexpr int kMib = 2;
constexpr size_t kBytes = kMib << 20;

TEST(GuestMemoryFrom, FindsItAmongOthers) {
  auto found = guest_memory_from(
      "55d0c0000000-55d0c0021000 rw-p 00000000 00:00 0                          [heap]\n"
      "7f0000000000-7f0010000000 rw-p 00000000 00:01 1034      /memfd:hako-guest-memory (deleted)\n"
      "7f0010000000-7f0010021000 rw-p 00000000 00:00 0 \n");
  ASSERT_TRUE(found) << found.error().message();
  EXPECT_EQ(found.value().address, 0x7f0000000000u);
  EXPECT_EQ(found.value().bytes, 256u << 20);
}

TEST(GuestMemoryFrom, TakesPiecesTogether) {
  const std::string name = " 00:01 1034   /memfd:hako-guest-memory (deleted)\n";
  auto found = guest_memory_from("7f0000000000-7f0000100000 rw-p 00000000" + name +
                                 "7f0000100000-7f0000300000 r--p 00100000" + name);
  ASSERT_TRUE(found) << found.error().message();
  EXPECT_EQ(found.value().bytes, 3u << 20);
}

TEST(GuestMemoryFrom, RefusesWhatIsNotAClones) {
  const std::string name = " 00:01 1034   /memfd:hako-guest-memory (deleted)\n";
  for (const std::string& maps : {
           std::string(),
           std::string("7f0000000000-7f0000100000 rw-p 00000000 00:01 1 /memfd:other (deleted)\n"),
           "7f0000000000-7f0000100000 rw-s 00000000" + name,
           // Not from its start; with a gap; twice.
           "7f0000000000-7f0000100000 rw-p 00001000" + name,
           "7f0000000000-7f0000100000 rw-p 00000000" + name +
               "7f0000200000-7f0000300000 rw-p 00100000" + name,
           "7f0000000000-7f0000100000 rw-p 00000000" + name +
               "7f0000100000-7f0000200000 rw-p 00000000" + name,
       }) {
    auto found = guest_memory_from(maps);
    ASSERT_FALSE(found) << maps;
    EXPECT_EQ(found.error().code(), ErrorCode::failed_precondition) << maps;
  }
}

/// A private mapping of a memory file that is not zero anywhere, as a clone has it.
class ProcessMemory : public testing::Test {
 protected:
  ProcessMemory() : file_(make_memory_file(kMib).value()) {
    std::string bytes(kBytes, 'b');
    EXPECT_EQ(::pwrite(file_.get(), bytes.data(), bytes.size(), 0), static_cast<ssize_t>(kBytes));
    EXPECT_TRUE(seal_memory_file(file_.get(), kMib));
    memory_ = static_cast<char*>(
        ::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE, file_.get(), 0));
  }
  ~ProcessMemory() override { ::munmap(memory_, kBytes); }

  char* page(uint64_t number) const { return memory_ + number * kGuestPage; }

  Fd file_;
  char* memory_;
};

TEST_F(ProcessMemory, OnlyWhatWasWrittenToIsPrivate) {
  auto mapping = find_guest_memory(::getpid());
  ASSERT_TRUE(mapping) << mapping.error().message();
  EXPECT_EQ(mapping.value().address, reinterpret_cast<uint64_t>(memory_));
  EXPECT_EQ(mapping.value().bytes, kBytes);
  // Read, all of it: that changes nothing.
  EXPECT_EQ(std::memchr(memory_, 'x', kBytes), nullptr);
  auto runs = private_pages(::getpid(), mapping.value());
  ASSERT_TRUE(runs) << runs.error().message();
  EXPECT_TRUE(runs.value().empty());

  for (uint64_t number : {0, 3, 4, 5, 10, 511}) *page(number) = 'w';
  std::memset(page(4), 0, kGuestPage);
  runs = private_pages(::getpid(), mapping.value());
  ASSERT_TRUE(runs);
  std::vector<std::pair<uint64_t, uint64_t>> found;
  for (const PageRun& run : runs.value()) found.push_back({run.first, run.count});
  EXPECT_EQ(found, (decltype(found){{0, 1}, {3, 3}, {10, 1}, {511, 1}}));
}

TEST_F(ProcessMemory, DeltaTakesOneToTheStateOfTheOther) {
  auto mapping = find_guest_memory(::getpid()).value();
  // More runs than one call takes, and long ones.
  for (uint64_t number = 0; number < 512; ++number)
    if (number % 3 != 0) std::memset(page(number), static_cast<int>(number % 251), kGuestPage);
  auto runs = private_pages(::getpid(), mapping).value();
  ASSERT_GT(runs.size(), 100u);
  auto buffer = PageBuffer::make(1).value();
  ASSERT_TRUE(buffer.grow(pages_in(runs)));
  ASSERT_TRUE(read_pages(::getpid(), mapping, runs, buffer.data()));
  MemoryDelta delta{runs, buffer.finish(pages_in(runs)).value()};
  std::string right(memory_, kBytes);

  // Another process that maps the same file, and has not written to it yet.
  pid_t child = ::fork();
  if (child == 0) {
    ::munmap(memory_, kBytes);
    void* fresh = ::mmap(memory_, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED_NOREPLACE,
                         file_.get(), 0);
    if (fresh != memory_) ::_exit(1);
    ::raise(SIGSTOP);
    ::_exit(std::memcmp(memory_, right.data(), kBytes) == 0 ? 0 : 2);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, WUNTRACED), child);
  ASSERT_TRUE(WIFSTOPPED(status));
  auto childs = find_guest_memory(child);
  ASSERT_TRUE(childs) << childs.error().message();
  EXPECT_TRUE(private_pages(child, childs.value()).value().empty());
  auto written = write_pages(child, childs.value(), delta);
  EXPECT_TRUE(written) << written.error().message();
  // It has them for good: its own checkpoint holds them, too.
  EXPECT_EQ(pages_in(private_pages(child, childs.value()).value()), pages_in(runs));
  ::kill(child, SIGCONT);
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  // The file that both share is as it was.
  std::string bytes(kBytes, 'x');
  EXPECT_EQ(::pread(file_.get(), bytes.data(), kBytes, 0), static_cast<ssize_t>(kBytes));
  EXPECT_EQ(bytes, std::string(kBytes, 'b'));

  // And one that has gone.
  auto gone = find_guest_memory(child);
  ASSERT_FALSE(gone);
  EXPECT_EQ(gone.error().code(), ErrorCode::unavailable) << gone.error().message();
  EXPECT_EQ(private_pages(child, mapping).error().code(), ErrorCode::unavailable);
  EXPECT_EQ(write_pages(child, mapping, delta).error().code(), ErrorCode::unavailable);
}

TEST_F(ProcessMemory, DeltaBeyondMemoryIsRefused) {
  auto mapping = find_guest_memory(::getpid()).value();
  auto buffer = PageBuffer::make(2).value();
  MemoryDelta delta{{{511, 2}}, buffer.finish(2).value()};
  auto written = write_pages(::getpid(), mapping, delta);
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().code(), ErrorCode::corrupted);
}

}  // namespace
}  // namespace hako::engine
