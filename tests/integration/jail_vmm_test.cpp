// The walls around a VMM, each with the attempt that it stops. Needs root.
#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <iostream>
#include <map>
#include <thread>

#include "jail/filter.h"
#include "jail/jail.h"
#include "jail/vmm_root.h"
#include "support/in_child.h"
#include "support/jail_walls.h"
#include "support/own_mounts.h"

namespace hako::jail {
namespace {

using namespace std::chrono_literals;

constexpr uid_t kUid = 947001;
constexpr char kQemu[] = "/usr/bin/qemu-system-x86_64";

Fd empty_netns() {
  Fd netns;
  std::thread([&] {
    if (::unshare(CLONE_NEWNET) == 0)
      netns = Fd(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
  }).join();
  return netns;
}

class VmmJailTest : public testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root";
    netns = empty_netns();
    ASSERT_TRUE(netns);
    jail.uid = jail.gid = kUid;
    jail.netns = netns.get();

    char name[] = "/tmp/hako-jail-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    folder = name;
  }

  void TearDown() override {
    if (!folder.empty()) std::filesystem::remove_all(folder);
  }

  asio::io_context io;
  Fd netns;
  VmmJail jail;
  std::string folder;
};

TEST_F(VmmJailTest, LeavesNothingOfRootInTheProcess) {
  ProcessSpec spec{"/bin/sleep", {"sleep", "60"}, {}, {}};
  jail.largest_file = 4096;
  auto process = launch_vmm(io.get_executor(), spec, jail);
  ASSERT_TRUE(process) << process.error().message();
  std::string proc = "/proc/" + std::to_string(process.value().pid());
  auto status = read_file(proc + "/status"), limits = read_file(proc + "/limits");
  ASSERT_TRUE(status && limits);
  std::string text = status.value() + limits.value();
  std::string id = std::to_string(kUid), tab = "\t";
  for (std::string line :
       {"Uid:\t" + id + tab + id + tab + id + tab + id,
        "Gid:\t" + id + tab + id + tab + id + tab + id, std::string("Groups:\t \n"),
        "NSpid:\t" + std::to_string(process.value().pid()) + "\t1\n", std::string("NoNewPrivs:\t1"),
        std::string("Seccomp:\t2"), std::string("CapInh:\t0000000000000000"),
        std::string("CapPrm:\t0000000000000000"), std::string("CapEff:\t0000000000000000"),
        std::string("CapBnd:\t0000000000000000"), std::string("CapAmb:\t0000000000000000"),
        std::string("Max core file size        1                    1 "),
        std::string("Max file size             4096                 4096 ")})
    EXPECT_NE(text.find(line), std::string::npos) << line << " is not in\n" << text;
  // No namespace is one of ours, and no user has a name in its user namespace.
  for (const char* kind : {"ipc", "mnt", "net", "pid", "user", "uts"}) {
    auto link = [&](const std::string& of) {
      return std::filesystem::read_symlink(of + "/ns/" + kind).string();
    };
    EXPECT_NE(link(proc), link("/proc/self")) << kind;
  }
  EXPECT_EQ(read_file(proc + "/uid_map").value(), "");
}

/// As on a system that has them switched off.
Result<void> forbid_user_namespaces() {
  Filter filter(SCMP_ACT_ALLOW);
  filter.rule(SCMP_ACT_ERRNO(EPERM), SCMP_SYS(unshare),
              {has_bits(0, CLONE_NEWUSER, CLONE_NEWUSER)});
  return filter.load();
}

TEST_F(VmmJailTest, GoesWithoutAUserNamespaceWhereThereAreNone) {
  EXPECT_EQ(testing_support::in_child([&] {
              if (!forbid_user_namespaces()) return 1;
              ProcessSpec spec{"/bin/sleep", {"sleep", "60"}, {}, {}};
              asio::io_context own;
              auto process = launch_vmm(own.get_executor(), spec, jail);
              if (!process) return 2;
              std::string proc = "/proc/" + std::to_string(process.value().pid());
              auto user = [](const std::string& of) {
                return std::filesystem::read_symlink(of + "/ns/user");
              };
              if (user(proc) != user("/proc/self")) return 3;
              auto status = read_file(proc + "/status");
              if (!status) return 4;
              for (const char* none : {"CapBnd:\t0000000000000000", "CapPrm:\t0000000000000000"})
                if (status.value().find(none) == std::string::npos) return 5;
              return 0;
            }),
            0);
}

TEST_F(VmmJailTest, ErrorsNameTheStep) {
  ProcessSpec spec{"/bin/true", {"true"}, {}, {}};
  VmmJail bad = jail;
  bad.netns = 0;
  auto process = launch_vmm(io.get_executor(), spec, bad);
  ASSERT_FALSE(process);
  EXPECT_NE(process.error().message().find("join the empty network namespace"), std::string::npos);
  bad = jail;
  bad.uid = 0;
  EXPECT_EQ(launch_vmm(io.get_executor(), spec, bad).error().code(), ErrorCode::invalid_argument);
  spec.path = "/usr/bin/there-is-no-such-program";
  EXPECT_EQ(launch_vmm(io.get_executor(), spec, jail).error().code(), ErrorCode::not_found);
}

TEST_F(VmmJailTest, ARootHoldsWhatOneProgramNeeds) {
  auto files = files_of_vmm(io.get_executor(), kQemu, false);
  if (!files) GTEST_SKIP() << "needs qemu-system-x86_64";
  auto shows = [&](std::string_view end) {
    return std::count_if(files.value().begin(), files.value().end(),
                         [&](const Shown& shown) { return shown.path.ends_with(end); });
  };
  EXPECT_EQ(shows(kQemu), 1);
  EXPECT_EQ(shows("/libc.so.6"), 1);
  EXPECT_EQ(shows("/share/qemu"), 1);
  EXPECT_EQ(shows("/ld-linux-x86-64.so.2"), 1);
  EXPECT_EQ(shows("/dev/kvm"), 0);
  for (const Shown& shown : files.value()) {
    EXPECT_NE(shown.as, Shown::As::writable) << shown.path;
    EXPECT_NE(shown.path, "/usr");
  }
}

/// What a root of `files` made by this process shows: the names at its top and its mounts.
std::string view_of_root(const std::vector<Shown>& files) {
  auto root = make_root(files);
  if (!root) return "error: " + root.error().message();
  if (::setns(root.value().get(), CLONE_NEWNS) < 0) return "error: cannot join it";
  std::vector<std::string> seen;
  for (const char* place : {"/", "/etc", "/usr/bin", "/usr/lib"})
    for (auto& entry : std::filesystem::directory_iterator(place))
      seen.push_back("name " + entry.path().string());
  auto mounts = read_file("/proc/thread-self/mountinfo");
  if (!mounts) return "error: " + mounts.error().message();
  std::istringstream lines(mounts.value());
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string id, parent, device, inside, place, flags;
    words >> id >> parent >> device >> inside >> place >> flags;
    seen.push_back("mount " + place + " " + flags);
  }
  std::sort(seen.begin(), seen.end());
  std::string text;
  for (auto& one : seen) text += one + "\n";
  return text;
}

/// The same from inside a chroot to `folder`, which is no mount. Its mounts spread to their peers,
/// as a system's do; "spread" in the text if one that was made for the VMM did.
std::string view_from_chroot(const std::string& folder, const std::vector<Shown>& files) {
  if (!testing_support::own_mounts(MS_PRIVATE) || !testing_support::own_mounts(MS_SHARED))
    return "error: no mounts of our own";
  for (const char* name : {"/usr", "/etc", "/dev", "/proc", "/tmp"})
    std::filesystem::create_directory(folder + name);
  for (const char* name :
       {"/usr", "/proc", "/etc/ld.so.cache", "/dev/null", "/dev/urandom", "/dev/kvm"}) {
    std::string target = folder + name;
    if (::access(name, F_OK) < 0) continue;
    if (!std::filesystem::is_directory(name)) (void)open_file(target, O_WRONLY | O_CREAT, 0600);
    if (::mount(name, target.c_str(), nullptr, MS_BIND | MS_REC, nullptr) < 0)
      return std::string("error: cannot show ") + name;
  }
  // Should a bug of this test ever leave it behind, removing the folder must not empty the host's.
  if (::mount(nullptr, (folder + "/usr").c_str(), nullptr, MS_REMOUNT | MS_BIND | MS_RDONLY,
              nullptr) < 0)
    return "error: cannot protect /usr";
  for (const char* name : {"/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"})
    if (std::filesystem::is_symlink(name)) std::filesystem::copy_symlink(name, folder + name);
  Fd tmp = open_file(folder + "/tmp", O_RDONLY | O_DIRECTORY).value();
  if (::chroot(folder.c_str()) < 0 || ::chdir("/") < 0) return "error: cannot chroot";
  Fd peer = open_file("/proc/thread-self/ns/mnt", O_RDONLY).value();
  Fd root = open_file("/", O_PATH | O_DIRECTORY).value();
  std::string text = view_of_root(files);
  struct stat before {
  }, after{};
  if (::setns(peer.get(), CLONE_NEWNS) < 0 || ::fchdir(root.get()) < 0 ||
      ::fstat(tmp.get(), &before) < 0 || ::stat("tmp", &after) < 0)
    return "error: cannot look back";
  return before.st_dev == after.st_dev ? text : "spread\n" + text;
}

TEST_F(VmmJailTest, TheRootIsTheSameWhenMadeInAChroot) {
  if (!std::filesystem::is_symlink("/lib")) GTEST_SKIP() << "needs a merged /usr";
  auto files = files_of_vmm(io.get_executor(), "/usr/bin/cat", true);
  ASSERT_TRUE(files) << files.error().message();
  auto said_by_child = [](auto view) {
    int ends[2];
    EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    Fd out(ends[0]), in(ends[1]);
    // Far less than a pipe holds.
    EXPECT_EQ(testing_support::in_child([&] { return write_all(in.get(), view()) ? 0 : 1; }), 0);
    in.reset();
    std::string text;
    char buffer[4096];
    for (ssize_t n; (n = ::read(out.get(), buffer, sizeof buffer)) > 0;)
      text.append(buffer, static_cast<size_t>(n));
    return text;
  };
  std::string usual = said_by_child([&] { return view_of_root(files.value()); });
  EXPECT_NE(usual.find("mount / ro"), std::string::npos) << usual;
  EXPECT_EQ(usual.find("/tmp"), std::string::npos) << usual;
  EXPECT_EQ(said_by_child([&] { return view_from_chroot(folder, files.value()); }), usual);
}

TEST_F(VmmJailTest, WhatItCostsPerLaunch) {
  ProcessSpec spec{"/bin/true", {"true"}, {}, {}};
  struct Variant {
    const char* what;
    std::set<Wall> left_out;
    std::vector<int64_t> microseconds;
  };
  std::vector<Variant> variants{
      {"all walls", {}, {}},
      {"without the pid namespace", {Wall::processes}, {}},
      {"without ipc and uts", {Wall::namespaces}, {}},
      {"without the root", {Wall::root}, {}},
      {"without the user namespace", {Wall::user_namespace}, {}},
      {"without the filter", {Wall::filter}, {}},
      {"no walls",
       {Wall::processes, Wall::network, Wall::namespaces, Wall::root, Wall::limits, Wall::user,
        Wall::user_namespace, Wall::capabilities, Wall::no_new_privs, Wall::filter},
       {}}};
  auto first = std::chrono::steady_clock::now();
  EXPECT_TRUE(launch_vmm(io.get_executor(), spec, jail));
  auto microseconds_since = [](std::chrono::steady_clock::time_point began) {
    return std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() -
                                                                 began)
        .count();
  };
  std::cout << "the first one, which makes the root: " << microseconds_since(first) << " us\n";
  // In turns, so that other load on the machine meets all of them alike.
  for (int round = 0; round < 41; ++round) {
    for (Variant& variant : variants) {
      auto began = std::chrono::steady_clock::now();
      EXPECT_TRUE(testing_support::launch_vmm_without(variant.left_out, io.get_executor(), spec, jail));
      variant.microseconds.push_back(microseconds_since(began));
      // The kernel goes on taking its namespaces away, which slows down making new ones.
      std::this_thread::sleep_for(3ms);
    }
  }
  for (Variant& variant : variants) {
    std::sort(variant.microseconds.begin(), variant.microseconds.end());
    std::cout << variant.what << ": " << variant.microseconds[20] << " us (median)\n";
  }
}

TEST_F(VmmJailTest, QemuRunsInItWithFilesByDescriptor) {
  if (::access(kQemu, X_OK) != 0) GTEST_SKIP() << "needs qemu-system-x86_64";
  constexpr size_t kMemory = 64 << 20;
  Fd memory(::memfd_create("guest", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  ASSERT_EQ(::ftruncate(memory.get(), kMemory), 0);
  ASSERT_EQ(::fcntl(memory.get(), F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW), 0);
  auto control = socket_pair(SOCK_STREAM);
  ASSERT_TRUE(control);
  int messages_ends[2];
  ASSERT_EQ(::pipe2(messages_ends, O_CLOEXEC | O_NONBLOCK), 0);
  Fd messages(messages_ends[0]), messages_in(messages_ends[1]);
  ProcessSpec spec{kQemu,
                   {kQemu, "-nodefaults", "-no-user-config", "-nographic", "-S", "-M",
                    "microvm,x-option-roms=off,isa-serial=off,graphics=off,memory-backend=m0",
                    "-accel", "tcg", "-m", "64M", "-object",
                    "memory-backend-file,id=m0,size=64M,mem-path=/proc/self/fd/10,share=off",
                    "-chardev", "socket,id=q,fd=11", "-mon", "chardev=q,mode=control", "-sandbox",
                    "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"},
                   {},
                   // The last takes the number that the namespace's descriptor has here, and must
                   // not be taken for it.
                   {{memory.get(), 10},
                    {control.value().second.get(), 11},
                    {messages_in.get(), 2},
                    {memory.get(), jail.netns}}};
  auto process = launch_vmm(io.get_executor(), spec, jail);
  ASSERT_TRUE(process) << process.error().message();
  control.value().second.reset();

  char greeting[1024] = {};
  pollfd wait{control.value().first.get(), POLLIN, 0};
  ASSERT_EQ(::poll(&wait, 1, 20000), 1);
  ssize_t n = ::read(control.value().first.get(), greeting, sizeof greeting - 1);
  char said[2048] = {};
  if (n <= 0) n = ::read(messages.get(), said, sizeof said - 1);
  EXPECT_NE(std::string(greeting).find("\"QMP\""), std::string::npos) << said;

  // The node finds the guest's memory in it, to copy what a clone has changed.
  std::string proc = "/proc/" + std::to_string(process.value().pid());
  auto maps = read_file(proc + "/maps");
  ASSERT_TRUE(maps);
  size_t line = maps.value().find("memfd:guest");
  ASSERT_NE(line, std::string::npos);
  size_t start_of_line = maps.value().rfind('\n', line) + 1;
  uint64_t address = std::stoull(maps.value().substr(start_of_line), nullptr, 16);
  auto pagemap = open_file(proc + "/pagemap", O_RDONLY);
  ASSERT_TRUE(pagemap) << pagemap.error().message();
  uint64_t entry = 0;
  EXPECT_EQ(::pread(pagemap.value().get(), &entry, sizeof entry,
                    static_cast<off_t>(address / 4096 * sizeof entry)),
            static_cast<ssize_t>(sizeof entry));
}

}  // namespace
}  // namespace hako::jail
