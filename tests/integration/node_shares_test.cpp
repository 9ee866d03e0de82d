// Which groups VMMs are in, and what these keep them to, in the kernel's own control groups. Needs
// root.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>

#include "base/random.h"
#include "image/checksum.h"
#include "node/machine_limits.h"
#include "node/shares.h"
#include "support/in_child.h"

namespace hako::node {
namespace {

constexpr engine::MachineSize kSize{2, 64};
constexpr int64_t kMib = 1 << 20;

std::string tree_of(const config::Config& config) {
  return "hako/" + image::sha256_of_text(config.run_dir).substr(0, 16);
}

class SharesTest : public testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root";
    config.run_dir = "/run/hako-shares-" + random_lower_alphanumeric(8);
    config.state_dir = "/var/tmp";
    auto opened = jail::CgroupTree::open(tree_of(config), {"cpu", "memory", "pids", "io"});
    if (!opened || !opened.value().make("", {})) GTEST_SKIP() << "no control groups here";
    all.emplace(std::move(opened).value());
    // Where a process stands: with whom it shares processors, and where its memory is counted.
    tree = all->only("cpu");
    memory = all->only("memory");
    if (!tree || !memory) GTEST_SKIP() << all->describe();
    ASSERT_TRUE(shares.open());
  }

  void TearDown() override {
    for (pid_t child : children) end(child);
    if (!all) return;
    shares.close();
    auto removed = all->remove_all();
    EXPECT_TRUE(removed) << removed.error().message();
  }

  /// A process that goes through `doors` as a VMM does, and then waits for its end.
  pid_t born(const Result<std::vector<Fd>>& given) {
    EXPECT_TRUE(given) << given.error().message();
    const std::vector<Fd>& doors = given.value();
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
  std::optional<jail::CgroupTree> all, tree, memory;
  std::vector<pid_t> children;
};

using Names = std::vector<std::string>;

TEST_F(SharesTest, ABoxIsBornInItsTenantsShare) {
  pid_t vmm = born(shares.enter("m1-a", "acme", kSize));
  EXPECT_EQ(tree->members("tenant-acme/box-m1-a"), std::vector{vmm});
  EXPECT_EQ(memory->members("tenant-acme/box-m1-a"), std::vector{vmm});
  EXPECT_TRUE(tree->below("pool").empty());
}

TEST_F(SharesTest, AClaimedCloneMovesThere) {
  pid_t vmm = born(shares.enter("m1-a", "", kSize));
  EXPECT_EQ(tree->members("pool/box-m1-a"), std::vector{vmm});
  shares.move("m1-a", "acme", vmm, kSize);
  EXPECT_FALSE(tree->exists("pool/box-m1-a"));
  EXPECT_EQ(tree->members("tenant-acme/box-m1-a"), std::vector{vmm});
  shares.move("m1-a", "acme", vmm, kSize);
  EXPECT_EQ(tree->members("tenant-acme/box-m1-a"), std::vector{vmm}) << "again is no error";
}

TEST_F(SharesTest, NothingIsLeftOfABoxOrOfATenantsLast) {
  pid_t one = born(shares.enter("m1-a", "acme", kSize));
  pid_t two = born(shares.enter("m2-b", "acme", kSize));
  pid_t pooled = born(shares.enter("m3-c", "", kSize));
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
  pid_t vmm = born(shares.enter("m1-a", "acme", kSize));
  shares.close();
  EXPECT_EQ(tree->below(""), Names{"tenant-acme"});
  EXPECT_EQ(tree->members("tenant-acme/box-m1-a"), std::vector{vmm});
}

TEST_F(SharesTest, ASweepKeepsTheGroupsOfBoxesThatLive) {
  born(shares.enter("m1-a", "acme", kSize));
  pid_t gone = born(shares.enter("m2-b", "acme", kSize));
  pid_t other = born(shares.enter("m3-c", "other", kSize));
  end(gone);
  end(other);
  EXPECT_EQ(sweep_shares(config, {"m1-a"}), 4) << "the pool, a box, and another with its tenant";
  EXPECT_EQ(tree->below(""), Names{"tenant-acme"});
  EXPECT_EQ(tree->below("tenant-acme"), Names{"box-m1-a"});
}

TEST_F(SharesTest, ASweepOfNothingKeptLeavesNothing) {
  pid_t one = born(shares.enter("m1-a", "acme", kSize));
  end(one);
  sweep_shares(config, {});
  EXPECT_TRUE(tree->below("").empty());
  EXPECT_FALSE(std::filesystem::exists("/sys/fs/cgroup/cpu/" + tree_of(config)));
}

TEST_F(SharesTest, WhatIsNobodysTwiceGoesWhileTheNodeRuns) {
  pid_t vmm = born(shares.enter("m1-a", "acme", kSize));
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
  ASSERT_TRUE(others.open());
  born(shares.enter("m1-a", "acme", kSize));
  sweep_shares(other, {});
  EXPECT_EQ(tree->below(""), (Names{"pool", "tenant-acme"}));
}

TEST_F(SharesTest, AStrangeNameGivesNoShareAndNoHarm) {
  EXPECT_FALSE(shares.enter("m1-a", "../../etc", kSize));
  EXPECT_FALSE(shares.enter("m1-a", "a b", kSize));
  EXPECT_EQ(tree->below(""), Names{"pool"});
}

/// What it had used before somebody claimed it counts as before.
TEST_F(SharesTest, WhereMemoryHasAHierarchyOfItsOwnAClaimedCloneStaysThere) {
  if (all->describe().find("memory (v1)") == std::string::npos) GTEST_SKIP() << all->describe();
  pid_t vmm = born(shares.enter("m1-a", "", kSize));
  shares.move("m1-a", "acme", vmm, kSize);
  EXPECT_EQ(memory->members("pool/box-m1-a"), std::vector{vmm});
  EXPECT_EQ(memory->memory_use("pool/box-m1-a").limit_bytes,
            (kSize.memory_mib + config.spare_memory_mib) * kMib);
  end(vmm);
  shares.leave("m1-a");
  EXPECT_TRUE(memory->below("pool").empty());
  EXPECT_TRUE(tree->below("pool").empty());
  EXPECT_FALSE(tree->exists("tenant-acme"));
}

TEST_F(SharesTest, OneThatIsWhereItBelongsKeepsTheLimitsItHas) {
  pid_t vmm = born(shares.enter("m1-a", "acme", kSize));
  config.spare_memory_mib = 64;
  shares.move("m1-a", "acme", vmm, kSize);
  EXPECT_EQ(memory->memory_use("tenant-acme/box-m1-a").limit_bytes, 320 * kMib);
}

TEST_F(SharesTest, OneOfARunWithoutGroupsGetsOne) {
  pid_t vmm = born(std::vector<Fd>());
  shares.move("m1-a", "acme", vmm, kSize);
  EXPECT_EQ(tree->members("tenant-acme/box-m1-a"), std::vector{vmm});
  EXPECT_EQ(memory->members("tenant-acme/box-m1-a"), std::vector{vmm});
  EXPECT_EQ(memory->memory_use("tenant-acme/box-m1-a").limit_bytes, 320 * kMib);
}

TEST_F(SharesTest, WithoutSharesBoxesHaveLimitsAllTheSame) {
  config.cpu_shares = false;
  shares.close();
  Shares others(config);
  ASSERT_TRUE(others.open());
  pid_t vmm = born(others.enter("m1-a", "acme", kSize));
  // On v2 there is but one hierarchy.
  if (all->describe().find("cpu (v1)") != std::string::npos) {
    EXPECT_TRUE(tree->members("pool/box-m1-a").empty());
  }
  EXPECT_EQ(memory->members("pool/box-m1-a"), std::vector{vmm});
  others.move("m1-a", "acme", vmm, kSize);
  EXPECT_EQ(memory->members("pool/box-m1-a"), std::vector{vmm});
  EXPECT_GT(memory->memory_use("pool/box-m1-a").limit_bytes, 0);
  EXPECT_LT(memory->memory_use("pool/box-m1-a").limit_bytes, 1024 * kMib);
  end(vmm);
  others.leave("m1-a");
  others.close();
}

/// How a process ends that fills 128 MiB as a VMM, and what is then said of it.
std::pair<int, std::optional<std::string>> fill_as_vmm(Shares& shares) {
  std::vector<Fd> doors = shares.enter("m1-a", "acme", kSize).value();
  int status = testing_support::in_child([&] {
    for (const Fd& door : doors)
      if (::write(door.get(), "0", 1) != 1) return 255;
    constexpr size_t kFill = 128 << 20;
    void* place =
        ::mmap(nullptr, kFill, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (place == MAP_FAILED) return 254;
    auto* bytes = static_cast<volatile char*>(place);
    for (size_t at = 0; at < kFill; at += 4096) bytes[at] = 1;
    return 1;
  });
  return {status, shares.out_of_memory("m1-a")};
}

TEST_F(SharesTest, WhoeverUsesMoreMemoryThanItMayIsEndedAndSaidSo) {
  config.spare_memory_mib = 16;
  pid_t neighbour = born(shares.enter("m2-b", "acme", kSize));
  auto [status, why] = fill_as_vmm(shares);
  EXPECT_EQ(status, -SIGKILL);
  ASSERT_TRUE(why);
  EXPECT_EQ(*why, "its machine wanted more memory than the 80 MiB that it may use");
  EXPECT_FALSE(shares.out_of_memory("m2-b"));
  EXPECT_EQ(tree->members("tenant-acme/box-m2-b"), std::vector{neighbour});
}

TEST_F(SharesTest, WithoutThatLimitItIsNot) {
  config.spare_memory_mib = 0;
  auto [status, why] = fill_as_vmm(shares);
  EXPECT_EQ(status, 1);
  EXPECT_FALSE(why);
}

/// All of them together, when each by itself is within its own.
TEST_F(SharesTest, AllBoxesTogetherAreKeptToAPartOfTheHost) {
  shares.close();
  auto host = host_memory_bytes();
  ASSERT_TRUE(host);
  ASSERT_TRUE(shares.open());
  EXPECT_EQ(memory->memory_use("").limit_bytes / kMib, host.value() / 100 * 90 / kMib);
  // A host of a hundredth would hold no test: the limit is lowered here as an operator would.
  jail::CgroupLimits little;
  little.memory_bytes = 32 * kMib;
  ASSERT_TRUE(memory->make("", little));
  auto [status, why] = fill_as_vmm(shares);
  EXPECT_EQ(status, -SIGKILL);
  ASSERT_TRUE(why);
  EXPECT_NE(why->find("no memory was left for boxes on this host"), std::string::npos) << *why;
}

TEST_F(SharesTest, TheKernelHasTheLimitsOfTheMachinesSize) {
  born(shares.enter("m1-a", "", kSize));
  auto setting = [&](const std::string& v1, const std::string& v2) {
    std::string group = "/" + tree_of(config) + "/pool/box-m1-a/";
    auto text = read_file("/sys/fs/cgroup/" + v1.substr(0, v1.find('.')) + group + v1);
    if (!text) text = read_file("/sys/fs/cgroup" + group + v2);
    return text ? text.value() : text.error().message();
  };
  std::string cpu = setting("cpu.cfs_quota_us", "cpu.max");
  EXPECT_TRUE(cpu == "250000\n" || cpu == "250000 100000\n") << cpu;
  EXPECT_EQ(setting("memory.limit_in_bytes", "memory.max"), std::to_string(320 * kMib) + "\n");
  EXPECT_EQ(setting("pids.max", "pids.max"), "192\n");
  auto disk = block_device_of(config.state_dir);
  if (!disk) return;
  std::string io = setting("blkio.throttle.write_bps_device", "io.max");
  EXPECT_TRUE(io == disk.value() + " 536870912\n" ||
              io == disk.value() + " rbps=536870912 wbps=536870912 riops=20000 wiops=20000\n")
      << io;
}

TEST_F(SharesTest, SwitchedOffThereIsNothing) {
  config.cpu_shares = false;
  config.spare_memory_mib = config.boxes_memory_percent = config.vmm_threads = 0;
  config.disk_mib_per_second = config.disk_operations_per_second = 0;
  config.run_dir += "-off";
  Shares off(config);
  ASSERT_TRUE(off.open());
  EXPECT_TRUE(off.enter("m1-a", "acme", kSize).value().empty());
  off.move("m1-a", "acme", ::getpid(), kSize);
  off.leave("m1-a");
  off.close();
}

}  // namespace
}  // namespace hako::node
