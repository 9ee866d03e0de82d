// Control groups: the kernel's own, wherever this machine has them. Needs root.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <ctime>

#include "base/random.h"
#include "jail/cgroup.h"
#include "jail/jail.h"
#include "support/in_child.h"
#include "support/jail_walls.h"

namespace hako::jail {
namespace {

using testing_support::in_child;

const std::vector<std::string> kAll = {"cpu", "memory", "pids"};

/// A tree of its own, gone at the end.
class CgroupTest : public testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root";
    open(kAll);
  }

  void open(const std::vector<std::string>& wanted) {
    name = "hako-test/" + random_lower_alphanumeric(8);
    auto opened = CgroupTree::open(name, wanted);
    if (!opened) GTEST_SKIP() << opened.error().message();
    tree.emplace(std::move(opened).value());
    if (auto made = tree->make("", {}); !made) {
      tree.reset();
      GTEST_SKIP() << made.error().message();
    }
  }

  void TearDown() override {
    for (pid_t child : children) {
      ::kill(child, SIGKILL);
      ::waitpid(child, nullptr, 0);
    }
    if (!tree) return;
    auto removed = tree->remove_all();
    EXPECT_TRUE(removed) << removed.error().message();
    EXPECT_TRUE(tree->below("").empty());
  }

  pid_t sleeper() {
    pid_t child = ::fork();
    if (child == 0) {
      ::pause();
      ::_exit(0);
    }
    children.push_back(child);
    return child;
  }

  std::string name;
  std::optional<CgroupTree> tree;
  std::vector<pid_t> children;
};

/// The line of /proc/<pid>/cgroup that names this controller.
std::string group_of(pid_t pid, const std::string& controller) {
  auto text = read_file("/proc/" + std::to_string(pid) + "/cgroup");
  if (!text) return "";
  std::string v2;
  size_t at = 0;
  while (at < text.value().size()) {
    size_t end = text.value().find('\n', at);
    std::string line = text.value().substr(at, end - at);
    at = end + 1;
    size_t first = line.find(':'), second = line.find(':', first + 1);
    std::string controllers = "," + line.substr(first + 1, second - first - 1) + ",";
    if (controllers.find("," + controller + ",") != std::string::npos)
      return line.substr(second + 1);
    if (controllers == ",,") v2 = line.substr(second + 1);
  }
  return v2;
}

TEST_F(CgroupTest, ProcessesGoWhereTheyAreTold) {
  ASSERT_TRUE(tree->make("pool", {}));
  ASSERT_TRUE(tree->make("tenant-a/box-1", {}));
  pid_t one = sleeper(), other = sleeper();
  ASSERT_TRUE(tree->add("pool", one));
  ASSERT_TRUE(tree->add("tenant-a/box-1", other));
  EXPECT_EQ(tree->members("pool"), std::vector{one});
  ASSERT_TRUE(tree->add("tenant-a/box-1", one));
  EXPECT_TRUE(tree->members("pool").empty());
  EXPECT_EQ(tree->members("tenant-a/box-1").size(), 2u);
  for (const std::string& controller : kAll) {
    std::string group = group_of(one, controller);
    EXPECT_TRUE(group.ends_with("/tenant-a/box-1")) << controller << ": " << group;
  }
  EXPECT_EQ(tree->below(""), (std::vector<std::string>{"pool", "tenant-a"}));
  EXPECT_EQ(tree->below("tenant-a"), std::vector<std::string>{"box-1"});
}

TEST_F(CgroupTest, WhatHoldsProcessesStaysUntilTheyAreGone) {
  ASSERT_TRUE(tree->make("tenant-a/box-1", {}));
  ASSERT_TRUE(tree->make("tenant-a/box-2", {}));
  pid_t one = sleeper();
  ASSERT_TRUE(tree->add("tenant-a/box-1", one));
  auto removed = tree->remove("tenant-a");
  ASSERT_FALSE(removed);
  EXPECT_EQ(removed.error().code(), ErrorCode::failed_precondition);
  EXPECT_EQ(tree->below("tenant-a"), std::vector<std::string>{"box-1"});
  ::kill(one, SIGKILL);
  ::waitpid(one, nullptr, 0);
  EXPECT_TRUE(tree->remove("tenant-a"));
  EXPECT_TRUE(tree->remove("tenant-a")) << "missing is success";
  EXPECT_TRUE(tree->below("").empty());
}

TEST_F(CgroupTest, AnotherTreeIsLeftAlone) {
  auto other = CgroupTree::open("hako-test/" + random_lower_alphanumeric(8), kAll);
  ASSERT_TRUE(other);
  ASSERT_TRUE(other.value().make("pool", {}));
  ASSERT_TRUE(tree->make("pool", {}));
  ASSERT_TRUE(tree->remove_all());
  EXPECT_EQ(other.value().below(""), std::vector<std::string>{"pool"});
  EXPECT_TRUE(other.value().remove_all());
}

TEST_F(CgroupTest, NamesCannotLeaveTheTree) {
  for (const char* name : {"..", "a/../../b", "a/.hidden", "a b", "A", "a\nb", "a\\b"}) {
    EXPECT_FALSE(tree->make(name, {})) << name;
    EXPECT_FALSE(tree->add(name, ::getpid())) << name;
    EXPECT_FALSE(tree->doors(name)) << name;
    EXPECT_FALSE(tree->remove(name)) << name;
  }
}

TEST_F(CgroupTest, WeightsAreWhatTheKernelHas) {
  CgroupLimits limits;
  limits.cpu_weight = 50;
  ASSERT_TRUE(tree->make("half", limits));
  pid_t one = sleeper();
  ASSERT_TRUE(tree->add("half", one));
  std::string group = group_of(one, "cpu");
  auto v1 = read_file("/sys/fs/cgroup/cpu" + group + "/cpu.shares");
  auto v2 = read_file("/sys/fs/cgroup" + group + "/cpu.weight");
  ASSERT_TRUE(v1 || v2);
  EXPECT_EQ(v1 ? v1.value() : v2.value(), v1 ? "512\n" : "50\n");
}

/// How many processes a child can have at once in a group with this limit.
int children_with(CgroupTree& tree, std::optional<int64_t> pids) {
  CgroupLimits limits;
  limits.pids = pids;
  EXPECT_TRUE(tree.make("forks", limits));
  return in_child([&] {
    if (!tree.add("forks", ::getpid())) return 255;
    std::vector<pid_t> made;
    while (made.size() < 20) {
      pid_t child = ::_Fork();  // without the thread of in_child.h
      if (child == 0) {
        ::pause();
        ::_exit(0);
      }
      if (child < 0) break;
      made.push_back(child);
    }
    for (pid_t child : made) {
      ::kill(child, SIGKILL);
      ::waitpid(child, nullptr, 0);
    }
    return static_cast<int>(made.size());
  });
}

TEST_F(CgroupTest, ForksEndAtTheLimit) {
  EXPECT_EQ(children_with(*tree, 5), 4);
}

TEST_F(CgroupTest, WithoutTheLimitTheyDoNot) {
  EXPECT_EQ(children_with(*tree, std::nullopt), 20);
}

/// How a child ends that fills 64 MiB in a group with this limit.
int fill_with(CgroupTree& tree, std::optional<int64_t> bytes) {
  CgroupLimits limits;
  limits.memory_bytes = bytes;
  EXPECT_TRUE(tree.make("fill", limits));
  return in_child([&] {
    if (!tree.add("fill", ::getpid())) return 255;
    constexpr size_t kFill = 64 << 20;
    void* place =
        ::mmap(nullptr, kFill, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (place == MAP_FAILED) return 254;
    auto* memory = static_cast<volatile char*>(place);
    for (size_t at = 0; at < kFill; at += 4096) memory[at] = 1;
    return static_cast<int>(memory[kFill / 2]);
  });
}

TEST_F(CgroupTest, MemoryEndsAtTheLimit) {
  EXPECT_EQ(fill_with(*tree, 16 << 20), -SIGKILL);
}

TEST_F(CgroupTest, WithoutTheLimitItDoesNot) {
  EXPECT_EQ(fill_with(*tree, std::nullopt), 1);
}

/// How often the kernel has held back a child that wanted all of a processor for a while.
int64_t held_back_with(CgroupTree& tree, const std::string& name, std::optional<int> percent) {
  CgroupLimits limits;
  limits.cpu_percent = percent;
  EXPECT_TRUE(tree.make("spin", limits));
  int done = in_child([&] {
    if (!tree.add("spin", ::getpid())) return 255;
    timespec used{};
    while (used.tv_sec == 0 && used.tv_nsec < 200'000'000)
      ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    return 1;
  });
  EXPECT_EQ(done, 1);
  for (const char* root : {"/sys/fs/cgroup/cpu/", "/sys/fs/cgroup/"}) {
    auto text = read_file(root + name + "/spin/cpu.stat");
    size_t at = text ? text.value().find("nr_throttled ") : std::string::npos;
    if (at != std::string::npos) return std::atoll(text.value().c_str() + at + 13);
  }
  return -1;
}

TEST_F(CgroupTest, ProcessorTimeEndsAtTheLimit) {
  EXPECT_GT(held_back_with(*tree, name, 20), 0);
}

TEST_F(CgroupTest, WithoutThatLimitThereIsMore) {
  EXPECT_EQ(held_back_with(*tree, name, std::nullopt), 0);
}

TEST_F(CgroupTest, WhoWasEndedForWantOfMemoryIsCounted) {
  EXPECT_EQ(fill_with(*tree, 16 << 20), -SIGKILL);
  MemoryUse use = tree->memory_use("fill");
  EXPECT_EQ(use.limit_bytes, 16 << 20);
  EXPECT_EQ(use.oom_kills, 1);
  EXPECT_GE(use.most_bytes, 15 << 20);
  EXPECT_EQ(tree->memory_use("nowhere").oom_kills, 0);
}

TEST_F(CgroupTest, OneControllersGroupsAreAmongAll) {
  auto memory = tree->only("memory");
  ASSERT_TRUE(memory);
  ASSERT_TRUE(memory->make("a", {}));
  EXPECT_TRUE(tree->exists("a"));
  EXPECT_FALSE(tree->exists("b"));
  EXPECT_FALSE(tree->only("nothing"));
}

class VmmShareTest : public CgroupTest {
 protected:
  void SetUp() override {
    CgroupTest::SetUp();
    if (!tree) return;
    ASSERT_TRUE(tree->make("tenant-a/box-1", {}));
    auto opened = tree->doors("tenant-a/box-1");
    ASSERT_TRUE(opened);
    doors = std::move(opened).value();
    for (const Fd& door : doors) jail.cgroups.push_back(door.get());
    jail.uid = jail.gid = 947002;
    spec.path = "/usr/bin/sleep";
    spec.argv = {"sleep", "60"};
  }

  std::vector<Fd> doors;
  VmmJail jail;
  ProcessSpec spec;
  asio::io_context loop;
};

TEST_F(VmmShareTest, AVmmIsInItsGroupFromTheStart) {
  auto started =
      testing_support::launch_vmm_without({Wall::network}, loop.get_executor(), spec, jail);
  ASSERT_TRUE(started) << started.error().message();
  EXPECT_EQ(tree->members("tenant-a/box-1"), std::vector{started.value().pid()});
  for (const std::string& controller : kAll)
    EXPECT_TRUE(group_of(started.value().pid(), controller).ends_with("/tenant-a/box-1"));
}

TEST_F(VmmShareTest, AVmmIsEndedBeforeOthers) {
  auto score = [](const Process& process) {
    auto text = read_file("/proc/" + std::to_string(process.pid()) + "/oom_score_adj");
    return text ? text.value() : text.error().message();
  };
  auto started =
      testing_support::launch_vmm_without({Wall::network}, loop.get_executor(), spec, jail);
  ASSERT_TRUE(started) << started.error().message();
  EXPECT_EQ(score(started.value()), "900\n");
  auto other = testing_support::launch_vmm_without({Wall::network, Wall::limits},
                                                   loop.get_executor(), spec, jail);
  ASSERT_TRUE(other) << other.error().message();
  EXPECT_NE(score(other.value()), "900\n");
}

TEST_F(VmmShareTest, WithoutTheStepItIsWhereWeAre) {
  auto started = testing_support::launch_vmm_without({Wall::network, Wall::share},
                                                     loop.get_executor(), spec, jail);
  ASSERT_TRUE(started) << started.error().message();
  EXPECT_TRUE(tree->members("tenant-a/box-1").empty());
}

TEST_F(VmmShareTest, AGroupThatIsGoneLetsNothingStart) {
  ASSERT_TRUE(tree->remove("tenant-a"));
  auto started =
      testing_support::launch_vmm_without({Wall::network}, loop.get_executor(), spec, jail);
  ASSERT_FALSE(started);
  EXPECT_NE(started.error().message().find("control groups"), std::string::npos);
}

/// The mechanics of v2, with whatever controllers this machine has left for it.
TEST(CgroupV2, HandsControllersDown) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  auto opened = CgroupTree::open("hako-test/" + random_lower_alphanumeric(8), {"hugetlb"});
  if (!opened) GTEST_SKIP() << opened.error().message();
  auto& tree = opened.value();
  if (tree.describe() != "hugetlb (v2)") GTEST_SKIP() << tree.describe();
  ASSERT_TRUE(tree.make("tenant-a/box-1", {}));
  pid_t child = ::fork();
  if (child == 0) {
    ::pause();
    ::_exit(0);
  }
  EXPECT_TRUE(tree.add("tenant-a/box-1", child));
  EXPECT_FALSE(tree.add("tenant-a", child)) << "v2 keeps processes out of groups with groups";
  EXPECT_EQ(tree.members("tenant-a/box-1"), std::vector{child});
  EXPECT_FALSE(tree.remove_all());
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  EXPECT_TRUE(tree.remove_all());
}

constexpr char kV1[] =
    "25 1 0:22 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n"
    "26 25 0:23 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
    "27 25 0:24 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    "28 25 0:25 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
constexpr char kV2[] = "26 25 0:23 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n";

TEST(CgroupMounts, AreFoundWhereverTheyAre) {
  using Found = std::vector<CgroupHierarchy>;
  EXPECT_EQ(find_hierarchies(kV1, kAll, {{"/sys/fs/cgroup/unified", "pids hugetlb\n"}}),
            (Found{{"/sys/fs/cgroup/cpu,cpuacct", false, {"cpu"}},
                   {"/sys/fs/cgroup/memory", false, {"memory"}},
                   {"/sys/fs/cgroup/unified", true, {"pids"}}}));
  EXPECT_EQ(find_hierarchies(kV1, {"cpu"}, {}),
            (Found{{"/sys/fs/cgroup/cpu,cpuacct", false, {"cpu"}}}));
  EXPECT_EQ(find_hierarchies(kV2, kAll, {{"/sys/fs/cgroup", "cpuset cpu io memory pids\n"}}),
            (Found{{"/sys/fs/cgroup", true, kAll}}));
  EXPECT_EQ(find_hierarchies("1 2 0:3 / /x rw - cgroup cgroup rw,blkio\n", {"io"}, {}),
            (Found{{"/x", false, {"io"}}}));
  EXPECT_EQ(find_hierarchies(kV2, kAll, {{"/sys/fs/cgroup", "cpuset\n"}}), Found{});
  EXPECT_EQ(find_hierarchies("", kAll, {}), Found{});
  EXPECT_EQ(find_hierarchies("x - y\n1 2 - cgroup\n", kAll, {}), Found{});
}

TEST(CgroupSettings, AreThoseOfTheVersion) {
  using Written = std::vector<std::pair<std::string, std::string>>;
  CgroupLimits limits;
  limits.cpu_weight = 200;
  limits.memory_bytes = 1 << 20;
  limits.pids = 7;
  EXPECT_EQ(cgroup_settings({"/x", true, kAll}, limits),
            (Written{{"cpu.weight", "200"}, {"memory.max", "1048576"}, {"pids.max", "7"}}));
  EXPECT_EQ(
      cgroup_settings({"/x", false, kAll}, limits),
      (Written{{"cpu.shares", "2048"}, {"memory.limit_in_bytes", "1048576"}, {"pids.max", "7"}}));
  EXPECT_EQ(cgroup_settings({"/x", false, {"cpu"}}, limits), (Written{{"cpu.shares", "2048"}}));
  EXPECT_EQ(cgroup_settings({"/x", true, kAll}, {}), Written{});
  limits = {};
  limits.cpu_percent = 150;
  limits.memory_bytes = 4096;
  limits.no_swap = true;
  limits.io = {"8:0", 1000, 0};
  EXPECT_EQ(cgroup_settings({"/x", true, {"cpu", "memory", "io"}}, limits),
            (Written{{"cpu.max", "150000 100000"},
                     {"memory.max", "4096"},
                     {"memory.swap.max", "0"},
                     {"io.max", "8:0 rbps=1000 wbps=1000 riops=max wiops=max"}}));
  EXPECT_EQ(cgroup_settings({"/x", false, {"cpu", "memory", "io"}}, limits),
            (Written{{"cpu.cfs_period_us", "100000"},
                     {"cpu.cfs_quota_us", "150000"},
                     {"memory.limit_in_bytes", "4096"},
                     {"memory.memsw.limit_in_bytes", "4096"},
                     {"blkio.throttle.read_bps_device", "8:0 1000"},
                     {"blkio.throttle.read_iops_device", "8:0 0"},
                     {"blkio.throttle.write_bps_device", "8:0 1000"},
                     {"blkio.throttle.write_iops_device", "8:0 0"}}));
  limits = {};
  limits.cpu_weight = 0;
  EXPECT_EQ(cgroup_settings({"/x", false, kAll}, limits), (Written{{"cpu.shares", "10"}}));
}

}  // namespace
}  // namespace hako::jail
