// What a start of the node makes of what it finds on disk.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "base/random.h"
#include "node/reconcile.h"

namespace hako::node {
namespace {

namespace fs = std::filesystem;

class SweepTest : public testing::Test {
 protected:
  void SetUp() override {
    top = fs::temp_directory_path() / ("hako-sweep-" + random_lower_alphanumeric(8));
    config.state_dir = top / "state";
    config.run_dir = top / "run";
    // Nobody's: the test ends no process.
    config.vmm_uid_base = 2'000'000'000;
    fs::create_directories(folder());
    fs::create_directories(config.run_dir + "/vmm");
  }
  void TearDown() override { fs::remove_all(top); }

  fs::path folder() const { return config.state_dir + "/node/vms/m1-aaaaaaaa"; }

  fs::path top;
  config::Config config;
};

TEST_F(SweepTest, WhatHasNoRecordGoes) {
  std::ofstream(folder() / "scratch.raw") << "left behind";
  auto left = sweep(config, true);
  ASSERT_TRUE(left) << left.error().message();
  EXPECT_TRUE(left.value().boxes.empty());
  EXPECT_FALSE(fs::exists(folder()));
}

TEST_F(SweepTest, WhatCannotBeReadIsNotNobodys) {
  // A folder in its place: reading fails, for root too.
  fs::create_directories(folder() / "record.json");
  EXPECT_FALSE(sweep(config, true));
  EXPECT_TRUE(fs::exists(folder())) << "it may be a box's";
  EXPECT_TRUE(sweep(config, false)) << "nothing is to be kept";
  EXPECT_FALSE(fs::exists(folder()));
}

TEST_F(SweepTest, WhereOneCannotLookNothingIsEnded) {
  fs::remove_all(config.run_dir + "/vmm");
  std::ofstream(config.run_dir + "/vmm") << "not a folder";
  std::ofstream(folder() / "scratch.raw") << "perhaps a box's";
  EXPECT_FALSE(sweep(config, true));
  EXPECT_TRUE(fs::exists(folder()));
}

}  // namespace
}  // namespace hako::node
