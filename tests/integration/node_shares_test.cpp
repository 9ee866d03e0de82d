// Which groups VMMs are in, in the kernel's own control groups. Needs root.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>

#include "base/random.h"
#include "image/checksum.h"
#include "node/shares.h"

namespace hako::node {
namespace {

std::string tree_of(const config::Config& config) {
  return "hako/" + image::sha256_of_text(config.run_dir).substr(0, 16);
}

class SharesTest : public testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root";
    config.run_dir = "/run/hako-shares-" + random_lower_alphanumeric(8);
    auto opened = jail::CgroupTree::open(tree_of(config), {"cpu"});
    if (!opened || !opened.value().make("", {})) GTEST_SKIP() << "no control groups here";
    tree.emplace(std::move(opened).value());
    shares.open();
  }

  void TearDown() override {
    for (pid_t child : children) end(child);
    if (!tree) return;
    shares.close();
    auto removed = tree->remove_all();
    EXPECT_TRUE(removed) << removed.error().message();
  }

  /// A process that goes through `doors` as a VMM does, and then waits for its end.
  pid_t born(const std::vector<Fd>& doors) {
    int ready[2];
    EXPECT_EQ(::pipe(ready), 0);
    pid_t child = ::fork();
    if (child == 0) {
      for (const Fd& door : doors)
        if (::write(door.get(), "0", 1) != 1) ::_exit(1);
      (void)!::write(ready[1], "", 1);
      ::pause();
      ::_exit(0);
    }
    char byte;
    EXPECT_EQ(::read(ready[0], &byte, 1), 1);
    ::close(ready[0]);
    ::close(ready[1]);
    children.push_back(child);
    return child;
  }

  void end(pid_t child) {
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    std::erase(children, child);
  }

  config::Config config;
  Shares shares{config};
  std::optional<jail::CgroupTree> tree;
  std::vector<pid_t> children;
};

using Names = std::vector<std::string>;

TEST_F(SharesTest, ABoxIsBornInItsTenantsShare) {
  pid_t vmm = born(shares.enter("m1-a", "acme"));
  EXPECT_EQ(tree->members("tenant-acme/box-m1-a"), std::vector{vmm});
  EXPECT_TRUE(tree->members("pool").empty());
}

TEST_F(SharesTest, AClaimedCloneMovesThere) {
  pid_t vmm = born(shares.enter("m1-a", ""));
  EXPECT_EQ(tree->members("pool"), std::vector{vmm});
  shares.move("m1-a", "acme", vmm);
  EXPECT_TRUE(tree->members("pool").empty());
  EXPECT_EQ(tree->members("tenant-acme/box-m1-a"), std::vector{vmm});
  shares.move("m1-a", "acme", vmm);
  EXPECT_EQ(tree->members("tenant-acme/box-m1-a"), std::vector{vmm}) << "again is no error";
}

TEST_F(SharesTest, NothingIsLeftOfABoxOrOfATenantsLast) {
  pid_t one = born(shares.enter("m1-a", "acme"));
  pid_t two = born(shares.enter("m2-b", "acme"));
  pid_t pooled = born(shares.enter("m3-c", ""));
  end(one);
  shares.leave("m1-a");
  EXPECT_EQ(tree->below("tenant-acme"), Names{"box-m2-b"});
  end(two);
  shares.leave("m2-b");
  shares.leave("m2-b");
  EXPECT_EQ(tree->below(""), Names{"pool"});
  end(pooled);
  shares.leave("m3-c");
  shares.close();
  EXPECT_TRUE(tree->below("").empty());
}

TEST_F(SharesTest, CloseLeavesWhatBoxesUse) {
  pid_t vmm = born(shares.enter("m1-a", "acme"));
  shares.close();
  EXPECT_EQ(tree->below(""), Names{"tenant-acme"});
  EXPECT_EQ(tree->members("tenant-acme/box-m1-a"), std::vector{vmm});
}

TEST_F(SharesTest, ASweepKeepsTheGroupsOfBoxesThatLive) {
  born(shares.enter("m1-a", "acme"));
  pid_t gone = born(shares.enter("m2-b", "acme"));
  pid_t other = born(shares.enter("m3-c", "other"));
  end(gone);
  end(other);
  EXPECT_EQ(sweep_shares(config, {"m1-a"}), 4) << "the pool, a box, and another with its tenant";
  EXPECT_EQ(tree->below(""), Names{"tenant-acme"});
  EXPECT_EQ(tree->below("tenant-acme"), Names{"box-m1-a"});
}

TEST_F(SharesTest, ASweepOfNothingKeptLeavesNothing) {
  pid_t one = born(shares.enter("m1-a", "acme"));
  end(one);
  sweep_shares(config, {});
  EXPECT_TRUE(tree->below("").empty());
  EXPECT_FALSE(std::filesystem::exists("/sys/fs/cgroup/cpu/" + tree_of(config)));
}

TEST_F(SharesTest, WhatIsNobodysTwiceGoesWhileTheNodeRuns) {
  pid_t vmm = born(shares.enter("m1-a", "acme"));
  EXPECT_TRUE(tree->make("tenant-acme/box-m2-b", {}));
  EXPECT_TRUE(tree->make("tenant-other/box-m3-c", {}));
  EXPECT_EQ(shares.sweep({"m1-a"}), 0) << "who is being made may have been missed once";
  EXPECT_EQ(shares.sweep({"m1-a", "m2-b"}), 2) << "a box, and another tenant with it";
  EXPECT_EQ(tree->below(""), (Names{"pool", "tenant-acme"}));
  EXPECT_EQ(tree->below("tenant-acme"), (Names{"box-m1-a", "box-m2-b"}));
  EXPECT_EQ(shares.sweep({}), 0);
  EXPECT_EQ(shares.sweep({}), 1) << "one still holds a process";
  EXPECT_EQ(tree->members("tenant-acme/box-m1-a"), std::vector{vmm});
}

TEST_F(SharesTest, AnotherHakosGroupsAreLeftAlone) {
  config::Config other;
  other.run_dir = config.run_dir + "-other";
  Shares others(other);
  others.open();
  born(shares.enter("m1-a", "acme"));
  sweep_shares(other, {});
  EXPECT_EQ(tree->below(""), (Names{"pool", "tenant-acme"}));
}

TEST_F(SharesTest, AStrangeNameGivesNoShareAndNoHarm) {
  EXPECT_TRUE(shares.enter("m1-a", "../../etc").empty());
  EXPECT_TRUE(shares.enter("m1-a", "a b").empty());
  EXPECT_EQ(tree->below(""), Names{"pool"});
}

TEST_F(SharesTest, SwitchedOffThereIsNothing) {
  config.cpu_shares = false;
  config.run_dir += "-off";
  Shares off(config);
  off.open();
  EXPECT_TRUE(off.enter("m1-a", "acme").empty());
  off.move("m1-a", "acme", ::getpid());
  off.leave("m1-a");
  off.close();
}

}  // namespace
}  // namespace hako::node
