// Snapshots on disk: what was saved comes back, and damage is found and named.
#include "engine/snapshot_store.h"

#include <gtest/gtest.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "base/random.h"
#include "engine/memory_file.h"

namespace hako::engine {
namespace {

namespace fs = std::filesystem;

constexpr int kMib = 3;

class SnapshotStore : public testing::Test {
 protected:
  SnapshotStore() : root_(fs::temp_directory_path() / ("hako-store-test-" + random_hex(6))) {
    fs::create_directory(root_);
    directory_ = root_ / "snapshot";
  }
  ~SnapshotStore() override { fs::remove_all(root_); }

  static Snapshot make() {
    Snapshot snapshot;
    snapshot.size = {1, kMib};
    snapshot.fingerprint = {"qemu", "build \"7\"", Isolation::emulated, "cpu", 2'250'000};
    snapshot.device_state = random_bytes(70'000);
    snapshot.memory = make_memory_file(kMib).value();
    // Data at the start, across a page's end, in the middle of a hole, and at the end.
    for (off_t offset : {0, 4090, 1 << 20, (kMib << 20) - 10})
      EXPECT_EQ(::pwrite(snapshot.memory.get(), "0123456789", 10, offset), 10);
    // A page that was written and is zero again.
    EXPECT_EQ(::pwrite(snapshot.memory.get(), "\0\0\0\0", 4, 2 << 20), 4);
    EXPECT_TRUE(seal_memory_file(snapshot.memory.get(), kMib));
    return snapshot;
  }
  static std::string memory_of(const Snapshot& snapshot) {
    std::string bytes(size_t{kMib} << 20, 'x');
    EXPECT_EQ(::pread(snapshot.memory.get(), bytes.data(), bytes.size(), 0),
              static_cast<ssize_t>(bytes.size()));
    return bytes;
  }
  std::string file(const char* name) const { return directory_ + "/" + name; }
  void overwrite(const char* name, std::streamoff offset, const std::string& bytes) {
    std::fstream stream(file(name), std::ios::in | std::ios::out | std::ios::binary);
    stream.seekp(offset);
    stream << bytes;
  }
  void expect_corrupted(const std::string& name) {
    auto loaded = load_snapshot(directory_);
    ASSERT_FALSE(loaded) << name;
    EXPECT_EQ(loaded.error().code(), ErrorCode::corrupted) << loaded.error().message();
    EXPECT_EQ(loaded.error().message().rfind(name, 0), 0u) << loaded.error().message();
  }

  fs::path root_;
  std::string directory_;
};

TEST_F(SnapshotStore, ComesBack) {
  Snapshot snapshot = make();
  auto saved = save_snapshot(snapshot, directory_);
  ASSERT_TRUE(saved) << saved.error().message();
  auto loaded = load_snapshot(directory_);
  ASSERT_TRUE(loaded) << loaded.error().message();
  EXPECT_EQ(loaded.value().device_state, snapshot.device_state);
  EXPECT_EQ(memory_of(loaded.value()), memory_of(snapshot));
  EXPECT_TRUE(loaded.value().fingerprint.compatible_with(snapshot.fingerprint));
  EXPECT_EQ(loaded.value().size.memory_mib, kMib);
  EXPECT_TRUE(check_sealed(loaded.value().memory.get(), kMib));
  EXPECT_EQ(::pwrite(loaded.value().memory.get(), "x", 1, 0), -1);
}

TEST_F(SnapshotStore, IsSparseAndPrivate) {
  ASSERT_TRUE(save_snapshot(make(), directory_));
  struct stat info {};
  ASSERT_EQ(::stat(file("memory").c_str(), &info), 0);
  EXPECT_EQ(info.st_size, off_t{kMib} << 20);
  EXPECT_LE(info.st_blocks * 512, 64 * 1024);
  for (const char* name : {"memory", "device-state", "meta.json", ""}) {
    ASSERT_EQ(::stat(file(name).c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 077, 0u) << name;
  }
}

TEST_F(SnapshotStore, NeverReplaces) {
  ASSERT_TRUE(save_snapshot(make(), directory_));
  auto again = save_snapshot(make(), directory_);
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code(), ErrorCode::already_exists);
  EXPECT_EQ(std::distance(fs::directory_iterator(root_), fs::directory_iterator()), 1);
}

TEST_F(SnapshotStore, UnsealedMemoryIsNotSaved) {
  Snapshot snapshot = make();
  snapshot.memory = make_memory_file(kMib).value();
  EXPECT_FALSE(save_snapshot(snapshot, directory_));
  EXPECT_TRUE(fs::is_empty(root_));
}

TEST_F(SnapshotStore, MissingIsNotFound) {
  auto loaded = load_snapshot(directory_);
  ASSERT_FALSE(loaded);
  EXPECT_EQ(loaded.error().code(), ErrorCode::not_found);
}

TEST_F(SnapshotStore, DamageIsNamed) {
  ASSERT_TRUE(save_snapshot(make(), directory_));
  overwrite("memory", 5, "!");
  expect_corrupted("memory");
  overwrite("memory", 5, "5");
  ASSERT_TRUE(load_snapshot(directory_));

  overwrite("memory", 1'500'000, "!");  // in a hole
  expect_corrupted("memory");
  overwrite("memory", 1'500'000, std::string(1, '\0'));
  ASSERT_TRUE(load_snapshot(directory_));

  fs::resize_file(file("memory"), (kMib << 20) - 4096);
  expect_corrupted("memory");
  fs::resize_file(file("memory"), kMib << 20);
  expect_corrupted("memory");  // its last page is gone
}

TEST_F(SnapshotStore, DamagedDeviceStateIsNamed) {
  ASSERT_TRUE(save_snapshot(make(), directory_));
  fs::copy_file(file("device-state"), root_ / "kept");
  overwrite("device-state", 12, "damage");
  expect_corrupted("device-state");
  for (uintmax_t size : {uintmax_t{0}, uintmax_t{69'999}, uintmax_t{70'001}}) {
    fs::copy_file(root_ / "kept", file("device-state"), fs::copy_options::overwrite_existing);
    fs::resize_file(file("device-state"), size);
    expect_corrupted("device-state");
  }
}

TEST(SnapshotMetaText, AnyChangeIsNoticedOrHarmless) {
  SnapshotMeta meta;
  meta.size = {2, 512};
  meta.fingerprint = {"qemu", "build", Isolation::hardware, "cpu", 2'250'000};
  meta.device_state_bytes = 70'000;
  meta.device_state_sha256 = std::string(64, 'a');
  meta.memory_sha256 = std::string(64, '0');
  std::string text = format_snapshot_meta(meta);
  auto parsed = parse_snapshot_meta(text);
  ASSERT_TRUE(parsed) << parsed.error().message();
  EXPECT_EQ(format_snapshot_meta(parsed.value()), text);
  EXPECT_EQ(parsed.value().fingerprint.isolation, Isolation::hardware);

  for (size_t size = 0; size + 1 < text.size(); ++size)
    EXPECT_FALSE(parse_snapshot_meta(text.substr(0, size))) << size;
  for (size_t at = 0; at < text.size(); ++at) {
    std::string changed = text;
    changed[at] = static_cast<char>(changed[at] ^ 0x15);
    (void)parse_snapshot_meta(changed);  // whatever it says, it ends
  }
}

TEST(SnapshotMetaText, RefusesWhatCannotBe) {
  SnapshotMeta meta;
  meta.size = {2, 512};
  meta.fingerprint = {"qemu", "build", Isolation::emulated, "cpu", 2'250'000};
  meta.device_state_sha256 = meta.memory_sha256 = std::string(64, 'f');
  auto refused = [&](auto change) {
    SnapshotMeta wrong = meta;
    change(wrong);
    return !parse_snapshot_meta(format_snapshot_meta(wrong));
  };
  EXPECT_TRUE(parse_snapshot_meta(format_snapshot_meta(meta)));
  EXPECT_TRUE(refused([](SnapshotMeta& m) { m.size.vcpus = 0; }));
  EXPECT_TRUE(refused([](SnapshotMeta& m) { m.size.memory_mib = -1; }));
  EXPECT_TRUE(refused([](SnapshotMeta& m) { m.size.memory_mib = 1 << 30; }));
  EXPECT_TRUE(refused([](SnapshotMeta& m) { m.fingerprint.tsc_khz = 0; }));
  EXPECT_TRUE(refused([](SnapshotMeta& m) { m.device_state_bytes = size_t{1} << 40; }));
  EXPECT_TRUE(refused([](SnapshotMeta& m) { m.memory_sha256 = "../../etc/passwd"; }));
  for (const char* text : {"", "[]", "{}", "null", "{\"format\":\"1\"}"})
    EXPECT_EQ(parse_snapshot_meta(text).error().code(), ErrorCode::corrupted) << text;
  EXPECT_EQ(parse_snapshot_meta("{\"format\":2}").error().code(), ErrorCode::unsupported);
}

}  // namespace
}  // namespace hako::engine
