// Checkpoints on disk: what was saved comes back, and nothing else does.
#include "engine/checkpoint_store.h"

#include <gtest/gtest.h>

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "base/random.h"
#include "engine/memory_file.h"

namespace hako::engine {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kManyPages = 300;  // more than one chunk holds

class CheckpointStore : public testing::TestWithParam<bool> {
 protected:
  CheckpointStore() : root_(fs::temp_directory_path() / ("hako-ckpt-test-" + random_hex(6))) {
    fs::create_directory(root_);
    path_ = root_ / "checkpoint";
    seal_.purpose = "box 1";
    if (GetParam()) seal_.key = random_bytes(kSealKeyBytes);
  }
  ~CheckpointStore() override { fs::remove_all(root_); }

  static Checkpoint make(std::vector<PageRun> runs) {
    Checkpoint checkpoint;
    checkpoint.base = std::string(64, 'a');
    checkpoint.device_state = random_bytes(9000);
    checkpoint.memory.runs = std::move(runs);
    uint64_t pages = pages_in(checkpoint.memory.runs);
    auto buffer = PageBuffer::make(pages + 3).value();
    std::string bytes = random_bytes(pages * kGuestPage);
    std::memcpy(buffer.data(), bytes.data(), bytes.size());
    checkpoint.memory.pages = buffer.finish(pages).value();
    return checkpoint;
  }
  static Checkpoint make() { return make({{2, 1}, {4, kManyPages - 3}, {1000, 2}}); }
  static std::string pages_of(const Checkpoint& checkpoint) {
    auto view = PageView::open(checkpoint.memory.pages.get());
    auto bytes = view.value().bytes();
    return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }
  std::string content() const { return read_file(path_, 16 << 20).value(); }
  void replace_content(const std::string& bytes) {
    std::ofstream(path_, std::ios::binary | std::ios::trunc) << bytes;
  }
  void expect_refused(const std::string& what) { expect_refused(seal_, what); }
  void expect_refused(const Seal& seal, const std::string& what) {
    auto loaded = load_checkpoint(path_, seal);
    ASSERT_FALSE(loaded) << what;
    EXPECT_EQ(loaded.error().code(), ErrorCode::corrupted) << what << loaded.error().message();
    EXPECT_EQ(loaded.error().message().rfind("checkpoint: ", 0), 0u) << loaded.error().message();
  }
  size_t files() const {
    return static_cast<size_t>(std::distance(fs::directory_iterator(root_), {}));
  }

  fs::path root_;
  std::string path_;
  Seal seal_;
};

TEST_P(CheckpointStore, ComesBack) {
  for (bool empty : {false, true}) {
    Checkpoint made = empty ? make({}) : make();
    auto saved = save_checkpoint(made, path_, seal_);
    ASSERT_TRUE(saved) << saved.error().message();
    struct stat info {};
    ASSERT_EQ(::stat(path_.c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 07777, 0600u);
    auto loaded = load_checkpoint(path_, seal_);
    ASSERT_TRUE(loaded) << loaded.error().message();
    EXPECT_EQ(loaded.value().base, made.base);
    EXPECT_EQ(loaded.value().device_state, made.device_state);
    EXPECT_EQ(pages_of(loaded.value()), pages_of(made));
    ASSERT_EQ(loaded.value().memory.runs.size(), made.memory.runs.size());
    for (size_t i = 0; i < made.memory.runs.size(); ++i) {
      EXPECT_EQ(loaded.value().memory.runs[i].first, made.memory.runs[i].first);
      EXPECT_EQ(loaded.value().memory.runs[i].count, made.memory.runs[i].count);
    }
    // For good: nobody changes what others start from.
    EXPECT_EQ(::pwrite(loaded.value().memory.pages.get(), "x", 1, 0), -1);
    ::unlink(path_.c_str());
  }
}

TEST_P(CheckpointStore, HoldsMemoryInClearOnlyWithoutAKey) {
  Checkpoint made = make();
  ASSERT_TRUE(save_checkpoint(made, path_, seal_));
  bool seen = content().find(pages_of(made).substr(4096, 64)) != std::string::npos;
  EXPECT_EQ(seen, !GetParam());
}

TEST_P(CheckpointStore, IsNotReplaced) {
  Checkpoint made = make();
  ASSERT_TRUE(save_checkpoint(made, path_, seal_));
  auto again = save_checkpoint(made, path_, seal_);
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code(), ErrorCode::already_exists);
  EXPECT_EQ(files(), 1u);
  auto nowhere = save_checkpoint(made, path_ + "/below", seal_);
  ASSERT_FALSE(nowhere);
  EXPECT_EQ(files(), 1u);
}

TEST_P(CheckpointStore, FailedWriteLeavesNothing) {
  Checkpoint made = make();
  // A disk that takes so much and no more.
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  auto old_handler = ::signal(SIGXFSZ, SIG_IGN);
  rlimit small{600'000, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  auto saved = save_checkpoint(made, path_, seal_);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  ::signal(SIGXFSZ, old_handler);
  ASSERT_FALSE(saved);
  EXPECT_EQ(saved.error().os_error(), EFBIG);
  EXPECT_EQ(files(), 0u);
  EXPECT_TRUE(save_checkpoint(made, path_, seal_));
}

TEST_P(CheckpointStore, EveryCutIsFound) {
  ASSERT_TRUE(save_checkpoint(make(), path_, seal_));
  std::string whole = content();
  std::vector<size_t> sizes{0, 1, 15, 16, 17, 40, 41, 56, whole.size() - 1, whole.size() - 17,
                            whole.size() - 33, whole.size() / 2};
  // Between two chunks, too, where what is left is well-formed.
  const size_t head = GetParam() ? 40 : 16, overhead = GetParam() ? 17 : 33;
  for (size_t end = head; end < whole.size(); end += (256 << 10) + overhead) sizes.push_back(end);
  for (size_t size : sizes) {
    replace_content(whole.substr(0, size));
    expect_refused("cut to " + std::to_string(size));
  }
  replace_content(whole + "x");
  expect_refused("longer by one");
  replace_content(whole + whole);
  expect_refused("twice");
  replace_content(whole);
  EXPECT_TRUE(load_checkpoint(path_, seal_));
}

TEST_P(CheckpointStore, EveryChangeIsFound) {
  ASSERT_TRUE(save_checkpoint(make(), path_, seal_));
  std::string whole = content();
  for (size_t at = 0; at < whole.size(); at += at < 200 ? 1 : 9973) {
    std::string changed = whole;
    changed[at] = static_cast<char>(changed[at] ^ 0x10);
    replace_content(changed);
    expect_refused("changed at " + std::to_string(at));
  }
}

TEST_P(CheckpointStore, ChunksInAnotherOrderAreFound) {
  ASSERT_TRUE(save_checkpoint(make({{0, 256}}), path_, seal_));
  std::string whole = content();
  const size_t head = GetParam() ? 40 : 16, chunk = (256 << 10) + (GetParam() ? 17 : 33);
  ASSERT_GT(whole.size(), head + 3 * chunk);
  std::string swapped = whole.substr(0, head) + whole.substr(head + chunk, chunk) +
                        whole.substr(head, chunk) + whole.substr(head + 2 * chunk);
  replace_content(swapped);
  expect_refused("first two swapped");
  swapped = whole.substr(0, head + chunk) + whole.substr(head + 2 * chunk, chunk) +
            whole.substr(head + chunk, chunk) + whole.substr(head + 3 * chunk);
  replace_content(swapped);
  expect_refused("second and third swapped");
  replace_content(whole.substr(0, head + chunk) + whole.substr(head + 2 * chunk));
  expect_refused("one left out");
}

TEST_P(CheckpointStore, AnothersFileIsRefused) {
  ASSERT_TRUE(save_checkpoint(make(), path_, seal_));
  Seal other = seal_;
  other.purpose = "box 2";
  expect_refused(other, "of another box");
  // Parts of two files that are both right do not make a third.
  std::string first = content();
  ::unlink(path_.c_str());
  ASSERT_TRUE(save_checkpoint(make(), path_, seal_));
  std::string second = content();
  const size_t head = GetParam() ? 40 : 16, chunk = (256 << 10) + (GetParam() ? 17 : 33);
  replace_content(first.substr(0, head + chunk) + second.substr(head + chunk));
  expect_refused("two halves");
}

TEST_P(CheckpointStore, KeysAreHeldTo) {
  ASSERT_TRUE(save_checkpoint(make(), path_, seal_));
  Seal other = seal_;
  other.key = random_bytes(kSealKeyBytes);
  expect_refused(other, "another key, or one where there was none");
  if (seal_.key) {
    other.key.reset();
    expect_refused(other, "no key");
  }
  other.key = "short";
  auto loaded = load_checkpoint(path_, other);
  ASSERT_FALSE(loaded);
  EXPECT_EQ(loaded.error().code(), ErrorCode::invalid_argument);
}

TEST_P(CheckpointStore, WhatIsNotThereIsNotFound) {
  auto loaded = load_checkpoint(path_, seal_);
  ASSERT_FALSE(loaded);
  EXPECT_EQ(loaded.error().code(), ErrorCode::not_found);
}

/// With right checksums, as anybody can make them who can write the file.
TEST_P(CheckpointStore, NonsenseUnderARightSealIsRefused) {
  auto expect_nonsense = [&](std::string head, const std::string& rest, ErrorCode code) {
    {
      Fd file(::open(path_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
      auto writer = SealedWriter::begin(file.get(), seal_).value();
      auto length = static_cast<uint32_t>(head.size());
      std::string bytes(reinterpret_cast<const char*>(&length), sizeof length);
      bytes += head + rest;
      ASSERT_TRUE(writer.write(std::as_bytes(std::span(bytes.data(), bytes.size()))));
      ASSERT_TRUE(writer.finish());
    }
    auto loaded = load_checkpoint(path_, seal_);
    ASSERT_FALSE(loaded) << head;
    EXPECT_EQ(loaded.error().code(), code) << head;
    EXPECT_EQ(loaded.error().message().rfind("checkpoint: ", 0), 0u) << loaded.error().message();
  };
  auto head = [](const std::string& runs, const std::string& pages, const std::string& state = "0",
                 const std::string& format = "1") {
    return R"({"format":)" + format + R"(,"base":"b","device_state_bytes":)" + state +
           R"(,"runs":)" + runs + R"(,"pages":)" + pages + "}";
  };
  auto run = [](uint64_t first, uint64_t count) {
    PageRun run{first, count};
    return std::string(reinterpret_cast<const char*>(&run), sizeof run);
  };
  const std::string page(kGuestPage, 'p');
  expect_nonsense("", "", ErrorCode::corrupted);
  expect_nonsense("[]", "", ErrorCode::corrupted);
  expect_nonsense("{}", "", ErrorCode::corrupted);
  expect_nonsense(head("0", "0", "0", "2"), "", ErrorCode::unsupported);
  expect_nonsense(head("-1", "0"), "", ErrorCode::corrupted);
  expect_nonsense(head("0", "\"0\""), "", ErrorCode::corrupted);
  expect_nonsense(head("0", "1"), "", ErrorCode::corrupted);
  expect_nonsense(head("4611686018427387904", "0"), "", ErrorCode::corrupted);
  expect_nonsense(head("0", "4611686018427387904"), "", ErrorCode::corrupted);
  expect_nonsense(head("0", "0", "9007199254740992"), "", ErrorCode::corrupted);
  expect_nonsense(head("1", "1"), run(0, 2) + page, ErrorCode::corrupted);
  expect_nonsense(head("1", "1"), run(0, 0) + page, ErrorCode::corrupted);
  expect_nonsense(head("1", "1"), run(uint64_t{1} << 60, 1) + page, ErrorCode::corrupted);
  expect_nonsense(head("2", "2"), run(0, 1) + run(1, 1) + page + page, ErrorCode::corrupted);
  expect_nonsense(head("2", "2"), run(5, 1) + run(3, 1) + page + page, ErrorCode::corrupted);
  expect_nonsense(head("2", "1"), run(0, 2) + run(5, ~uint64_t{0}) + page, ErrorCode::corrupted);
  expect_nonsense(head("1", "1"), run(0, 1) + page + "x", ErrorCode::corrupted);
  expect_nonsense(std::string(5000, ' ') + head("0", "0"), "", ErrorCode::corrupted);
}

INSTANTIATE_TEST_SUITE_P(Both, CheckpointStore, testing::Bool(), [](const auto& info) {
  return info.param ? "Encrypted" : "Plain";
});

TEST(Materialise, PutsTheOneOverTheOther) {
  constexpr int kMib = 3;
  constexpr uint64_t kPages = kMib * 256;
  Snapshot base;
  base.size = {1, kMib};
  base.fingerprint = {"qemu", "build", Isolation::emulated, "cpu", 2'250'000};
  base.device_state = "base state";
  base.memory = make_memory_file(kMib).value();
  std::string expected(kPages * kGuestPage, '\0');
  auto put = [&](uint64_t page, char what) {
    std::memset(&expected[page * kGuestPage], what, kGuestPage);
  };
  // Data, a hole, data.
  for (uint64_t page : {0, 1, 2, 3, 100, 101, 102, 767}) {
    std::string bytes(kGuestPage, 'b');
    ASSERT_EQ(::pwrite(base.memory.get(), bytes.data(), bytes.size(),
                       static_cast<off_t>(page * kGuestPage)),
              static_cast<ssize_t>(kGuestPage));
    put(page, 'b');
  }
  ASSERT_TRUE(seal_memory_file(base.memory.get(), kMib));

  Checkpoint over;
  over.base = snapshot_id(base);
  over.device_state = "later state";
  over.memory.runs = {{1, 2}, {50, 3}, {101, 1}, {500, 1}, {767, 1}};
  auto buffer = PageBuffer::make(8).value();
  const char contents[] = {'n', '\0', 'n', '\0', 'n', 'n', '\0', 'n'};
  size_t next = 0;
  for (const PageRun& run : over.memory.runs)
    for (uint64_t i = 0; i < run.count; ++i, ++next) {
      std::memset(buffer.data() + next * kGuestPage, contents[next], kGuestPage);
      put(run.first + i, contents[next]);
    }
  over.memory.pages = buffer.finish(8).value();

  auto made = materialise(base, over);
  ASSERT_TRUE(made) << made.error().message();
  std::string bytes(expected.size(), 'x');
  EXPECT_EQ(::pread(made.value().memory.get(), bytes.data(), bytes.size(), 0),
            static_cast<ssize_t>(bytes.size()));
  EXPECT_TRUE(bytes == expected);
  EXPECT_TRUE(check_sealed(made.value().memory.get(), kMib));
  EXPECT_EQ(made.value().device_state, "later state");
  EXPECT_TRUE(made.value().fingerprint.compatible_with(base.fingerprint));
  EXPECT_NE(snapshot_id(made.value()), snapshot_id(base));
  // Neither zeros nor holes take room.
  struct stat info {};
  ASSERT_EQ(::fstat(made.value().memory.get(), &info), 0);
  EXPECT_EQ(info.st_blocks * 512, 9 * static_cast<long>(kGuestPage));

  over.memory.runs.back().first = kPages;
  auto beyond = materialise(base, over);
  ASSERT_FALSE(beyond);
  EXPECT_EQ(beyond.error().code(), ErrorCode::corrupted);
  over.base.back() ^= 1;
  auto foreign = materialise(base, over);
  ASSERT_FALSE(foreign);
  EXPECT_EQ(foreign.error().code(), ErrorCode::failed_precondition);
}

TEST(SnapshotId, ChangesWithAllThatARestoreDependsOn) {
  Snapshot snapshot;
  snapshot.size = {1, 256};
  snapshot.fingerprint = {"qemu", "build", Isolation::emulated, "cpu", 2'250'000};
  snapshot.device_state = "state";
  const std::string id = snapshot_id(snapshot);
  EXPECT_EQ(id, snapshot_id(snapshot));
  auto differs = [&](auto change) {
    Snapshot other;
    other.size = snapshot.size;
    other.fingerprint = snapshot.fingerprint;
    other.device_state = snapshot.device_state;
    change(other);
    return snapshot_id(other) != id;
  };
  EXPECT_TRUE(differs([](Snapshot& s) { s.size.vcpus = 2; }));
  EXPECT_TRUE(differs([](Snapshot& s) { s.size.memory_mib = 128; }));
  EXPECT_TRUE(differs([](Snapshot& s) { s.fingerprint.engine = "other"; }));
  EXPECT_TRUE(differs([](Snapshot& s) { s.fingerprint.vmm_build = "other"; }));
  EXPECT_TRUE(differs([](Snapshot& s) { s.fingerprint.isolation = Isolation::hardware; }));
  EXPECT_TRUE(differs([](Snapshot& s) { s.fingerprint.cpu = "other"; }));
  EXPECT_TRUE(differs([](Snapshot& s) { ++s.fingerprint.tsc_khz; }));
  EXPECT_TRUE(differs([](Snapshot& s) { s.device_state = "state2"; }));
  EXPECT_TRUE(differs([](Snapshot& s) {
    s.fingerprint.vmm_build = "buil";
    s.fingerprint.engine = "qemud";
  }));
}

}  // namespace
}  // namespace hako::engine
