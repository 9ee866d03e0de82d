// A full disk, on a real file system of one's own (needs root for the mount).
#include <gtest/gtest.h>
#include <sys/mount.h>

#include <filesystem>

#include "store/store.h"

namespace hako::store {
namespace {

class TinyDisk : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = std::filesystem::temp_directory_path() / "hako-tiny-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
    if (::mount("tmpfs", folder_.c_str(), "tmpfs", 0, "size=512k,mode=0700") != 0) {
      GTEST_SKIP() << "cannot mount a tmpfs here";
    }
    mounted_ = true;
  }
  void TearDown() override {
    store_.reset();
    if (mounted_) ::umount2(folder_.c_str(), MNT_DETACH);
    std::filesystem::remove_all(folder_);
  }

  SandboxRecord record(int n) {
    SandboxRecord made;
    made.id = "i" + std::to_string(n);
    made.template_name = "base";
    made.metadata = "{\"k\":\"" + std::string(8000, 'x') + "\"}";
    return made;
  }

  std::string folder_;
  std::unique_ptr<Store> store_;
  bool mounted_ = false;
};

TEST_F(TinyDisk, AFullDiskIsNoSpaceAndWhatWasThereStays) {
  auto opened = open_sqlite_store(folder_ + "/hako.db");
  ASSERT_TRUE(opened) << opened.error().message();
  store_ = std::move(opened.value());
  int stored = 0;
  Result<void> last = ok();
  while (stored < 1000) {
    last = store_->add_sandbox(record(stored));
    if (!last) break;
    ++stored;
  }
  ASSERT_FALSE(last);
  EXPECT_EQ(last.error().code(), ErrorCode::no_space) << last.error().message();
  ASSERT_GT(stored, 3);
  EXPECT_EQ(store_->all_sandboxes().value().size(), size_t(stored));

  // It recovers by itself once there is room again.
  ASSERT_EQ(::mount("tmpfs", folder_.c_str(), "tmpfs", MS_REMOUNT, "size=8m"), 0);
  EXPECT_TRUE(store_->add_sandbox(record(stored)));
  store_.reset();
  auto again = open_sqlite_store(folder_ + "/hako.db");
  ASSERT_TRUE(again) << again.error().message();
  EXPECT_EQ(again.value()->all_sandboxes().value().size(), size_t(stored) + 1);
}

TEST_F(TinyDisk, StartingOnAFullDiskIsNoSpace) {
  ASSERT_EQ(::mount("tmpfs", folder_.c_str(), "tmpfs", MS_REMOUNT, "size=4k"), 0);
  auto opened = open_sqlite_store(folder_ + "/hako.db");
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code(), ErrorCode::no_space) << opened.error().message();
}

}  // namespace
}  // namespace hako::store
