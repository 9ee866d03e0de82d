// What a VMM that has been taken over tries, and the walls that stop it. Needs root.
//
// Each attempt names the walls that stop it. It is refused behind all of them; it is still refused
// with any single one of these standing; and it gets through once all of them are away. So each
// wall is seen to hold, and each attempt is known to be a real one.
// HAKO_JAIL_REPORT=FILE has the report written there as JSON.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/capability.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <boost/json.hpp>

#include <cstdlib>
#include <fstream>
#include <iostream>

#include "support/jail_launch.h"
#include "support/user_namespaces.h"

namespace hako::jail {
namespace {

using testing_support::JailLab;
using testing_support::Outcome;
using Walls = std::set<Wall>;

/// All but the control groups, which stop nothing and share out: jail_cgroup_test.cpp has them.
const std::map<Wall, const char*> kNames{
    {Wall::processes, "pid namespace"},
    {Wall::network, "network namespace"},
    {Wall::namespaces, "ipc and uts namespaces"},
    {Wall::root, "root"},
    {Wall::limits, "limits"},
    {Wall::user, "uid and gid"},
    {Wall::user_namespace, "user namespace"},
    {Wall::capabilities, "no capabilities"},
    {Wall::no_new_privs, "no new privileges"},
    {Wall::filter, "system call filter"},
};

/// What only root's rights in the machine allow.
const Walls kPower{Wall::user, Wall::user_namespace, Wall::capabilities};

Walls operator+(Walls left, const Walls& right) {
  left.insert(right.begin(), right.end());
  return left;
}

struct Probe {
  std::string what;
  std::string name, value;
  Walls walls;
  bool possible = true;  ///< false where not even this machine's root may do it
};

std::string number_in(const char* path) {
  std::ifstream file(path);
  std::string text;
  file >> text;
  return text;
}

std::vector<Probe> file_probes(const JailLab& lab) {
  const Walls root{Wall::root}, made{Wall::root, Wall::filter};
  std::string root_process = "/proc/" + std::to_string(lab.root_process);
  std::string own_process = "/proc/" + std::to_string(lab.own_process);
  // Enough of them from wherever the test was started: above the top there is only the top.
  std::string up_to_the_top;
  for (int i = 0; i < 32; ++i) up_to_the_top += "../";
  std::vector<Probe> probes{
      {"a file all may read", "read-file", lab.open_file, root},
      {"the same from the working directory", "read-file", up_to_the_top + lab.open_file, root},
      {"passwords", "read-file", "/etc/shadow", root + Walls{Wall::user}},
      {"what folders there are", "list-folder", lab.folder, root},
      {"the kernel's view of devices", "list-folder", "/sys/class", root},
      {"a file all may write", "open-to-write", lab.open_file, root},
      {"a setting of the kernel", "open-to-write", "/proc/sys/kernel/core_pattern",
       root + Walls{Wall::user}},
      {"a new file", "make-file", lab.folder, made},
      {"a new file without a name", "make-nameless-file", lab.folder, made},
      {"a new folder", "make-folder", lab.folder, made},
      {"a symlink for somebody to follow", "make-link", lab.folder, made},
      {"a setuid bit on a file of its own", "change-mode", lab.owned_file, made},
      {"a new device", "make-device", lab.folder, made + kPower},
      {"environment of a process of root", "read-file", root_process + "/environ", kPower},
      {"root directory of a process of root", "list-folder", root_process + "/root/", kPower},
      {"memory of a process of its own uid",
       "open-device",
       own_process + "/mem",
       {Wall::user_namespace}},
      {"where its memory really is", "find-physical-memory", "", kPower},
      {"the root disk, opened again to write",
       "write-again-opened",
       std::to_string(JailLab::root_disk),
       {Wall::user}},
      {"more disk than it has", "grow-disk", std::to_string(JailLab::disk), {Wall::limits}},
      {"a tap that outlives its box", "keep-tap", std::to_string(JailLab::tap), {Wall::filter}},
  };
  for (const char* device : {"/dev/kvm", "/dev/net/tun", "/dev/loop-control", "/dev/userfaultfd"})
    if (::access(device, F_OK) == 0)
      probes.push_back(
          {std::string("device ") + device, "open-device", device, root + Walls{Wall::user}});
  if (::access("/dev/mem", F_OK) == 0)
    probes.push_back({"the machine's memory", "open-to-read", "/dev/mem", root + kPower});
  if (::access("/sys/fs/cgroup/cgroup.procs", F_OK) == 0)
    probes.push_back({"another cgroup", "open-to-write", "/sys/fs/cgroup/cgroup.procs",
                      root + Walls{Wall::user}});
  return probes;
}

std::vector<Probe> process_probes(const JailLab& lab) {
  std::string root_process = std::to_string(lab.root_process);
  std::string own_process = std::to_string(lab.own_process);
  const Walls filter{Wall::filter}, others{Wall::filter, Wall::processes};
  return {
      {"a signal for a process of root", "signal-process", root_process,
       others + Walls{Wall::user}},
      {"a signal for a process of its own uid", "signal-thread", own_process, {Wall::processes}},
      {"a handle on a process of its own uid", "open-process", own_process, others},
      {"tracing a process of its own uid", "trace", own_process,
       others + Walls{Wall::user_namespace}},
      {"reading memory of a process of its own uid", "read-memory", lab.own_memory,
       others + Walls{Wall::user_namespace}},
      {"tracing a process of root", "trace", root_process, others + kPower},
      {"another program", "run-program", HAKO_JAIL_PROBE, filter},
      {"a program from its own memory", "run-from-memory", std::to_string(JailLab::program),
       filter},
      {"a setuid program",
       "run-setuid-program",
       "/proc/self/fd/" + std::to_string(JailLab::setuid_program),
       {Wall::filter, Wall::root, Wall::no_new_privs, Wall::user_namespace}},
      {"another process", "make-process", "", filter},
      {"400 processes", "make-many-processes", "", {Wall::filter, Wall::limits}},
      {"400 threads", "make-many-threads", "", {Wall::limits}},
      {"400 descriptors", "take-many-descriptors", "", {Wall::limits}},
      {"a core dump", "dump-core", "", {Wall::limits}},
      {"memory that cannot be swapped", "lock-memory", "", {Wall::filter, Wall::limits}},
      {"a higher limit", "raise-limit", "", filter + kPower,
       ::prctl(PR_CAPBSET_READ, CAP_SYS_RESOURCE) == 1},
      {"a higher priority", "raise-priority", "", filter + kPower},
      {"root", "become-root", "", {Wall::filter, Wall::user, Wall::user_namespace}},
      {"root's group", "take-groups", "", filter + kPower},
      {"programs at known addresses", "switch-randomisation-off", "", filter},
  };
}

std::vector<Probe> socket_probes(const JailLab& lab) {
  const Walls filter{Wall::filter}, net{Wall::filter, Wall::network};
  char port[8];
  std::snprintf(port, sizeof port, ":%04X", lab.tcp_port);
  std::vector<Probe> probes{
      {"a daemon's socket", "connect-local", lab.socket_path, {Wall::filter, Wall::root}},
      {"an abstract socket", "connect-local", lab.abstract, net},
      {"a meeting place for two VMMs", "offer-local", "hako-probe", filter},
      {"TCP to this machine's loopback", "connect-tcp", std::to_string(lab.tcp_port), net},
      {"UDP to this machine's loopback", "send-udp", std::to_string(lab.udp_port), net},
      {"who listens on this machine",
       "find-word",
       "/proc/self/net/tcp:" + std::string(port + 1),
       {Wall::network}},
      {"netlink", "netlink", "", filter},
      {"raw IP", "raw-ip", "", filter + kPower},
      {"raw packets", "packets", "", filter + kPower},
      {"vsock", "vsock", "", filter},
      {"a pair of sockets", "socket-pair", "", filter},
      {"shared memory",
       "shared-memory",
       std::to_string(lab.shm_key),
       {Wall::filter, Wall::namespaces}},
  };
  if (lab.udp6_port != 0)
    probes.push_back({"UDP over IPv6", "send-udp6", std::to_string(lab.udp6_port), net});
  return probes;
}

std::vector<Probe> kernel_probes(JailLab& lab) {
  const Walls filter{Wall::filter}, admin = filter + kPower;
  utsname names{};
  ::uname(&names);
  // What depends on this kernel's version and settings.
  auto open_to_all = [&](const char* name) {
    return lab.attempt(filter, name, "").got_through() ? filter : admin;
  };
  return {
      {"a mount", "mount", "", admin},
      {"taking a mount away", "unmount", "", admin},
      {"another root", "change-root", "", admin},
      {"swapping roots", "pivot-root", "", admin},
      {"a user namespace", "user-namespace", "", {Wall::filter, Wall::user_namespace}},
      {"a child in a user namespace",
       "clone-into-namespaces",
       "",
       {Wall::filter, Wall::user_namespace}},
      {"a network namespace", "network-namespace", "", admin},
      {"joining a namespace", "join-namespace", "", admin},
      {"a kernel module", "load-module", "", admin},
      {"removing a module", "remove-module", "", admin},
      {"another kernel", "load-kernel", "", admin},
      {"a restart", "restart-machine", "", admin},
      {"swap", "swap-on", "", admin},
      {"the clock", "set-clock", "", admin},
      {"the host's name, to set", "set-host-name", "", admin},
      {"the host's name, to know", "learn-host-name", names.nodename, {Wall::namespaces}},
      {"the kernel's log", "read-kernel-log", "", open_to_all("read-kernel-log")},
      {"BPF", "bpf", "", open_to_all("bpf")},
      {"performance events", "performance-events", "", open_to_all("performance-events")},
      {"io_uring", "io-uring", "", {Wall::filter, Wall::limits}},
      {"page faults of its own to handle", "user-faults", "", filter},
      {"keyrings", "keys", "", filter},
      {"a key", "add-key", "", filter},
      {"a listener for system calls", "watch-own-calls", "", filter},
      {"files by handle", "open-by-handle", "", open_to_all("open-by-handle")},
      {"ports of devices", "io-ports", "", admin},
  };
}

std::string text_of(const Walls& walls) {
  std::string text;
  for (Wall wall : walls) text += (text.empty() ? "" : ", ") + std::string(kNames.at(wall));
  return text.empty() ? "what it was given" : text;
}

bool can_stand_alone(Wall wall, const Walls& left_out) {
  // Without no_new_privs nobody but root may load a filter.
  if (wall == Wall::filter) return left_out.count(Wall::no_new_privs) == 0;
  // Where these tests run in a chroot, only who has left it may make one.
  if (wall == Wall::user_namespace && left_out.count(Wall::root) != 0)
    return test::user_namespaces_can_be_made();
  return true;
}

/// What a kernel that was built without it says.
bool is_not_here(const Outcome& outcome) {
  return outcome.answered &&
         (outcome.error == ENOSYS || outcome.error == EAFNOSUPPORT || outcome.error == EOPNOTSUPP);
}

class JailProbe : public testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root";
    lab = std::make_unique<JailLab>();
  }

  void try_all(const std::vector<Probe>& probes) {
    boost::json::array report;
    for (const Probe& probe : probes) report.push_back(try_one(probe));
    if (const char* path = std::getenv("HAKO_JAIL_REPORT"))
      std::ofstream(path, std::ios::app) << boost::json::serialize(report) << "\n";
  }

  boost::json::object try_one(const Probe& probe) {
    Outcome behind_all = lab->attempt({}, probe.name, probe.value);
    EXPECT_FALSE(behind_all.got_through()) << probe.what;
    std::cout << "tried " << probe.what << ": " << behind_all.text() << " [" << text_of(probe.walls)
              << "]\n";
    boost::json::object line{
        {"tried", probe.what}, {"outcome", behind_all.text()}, {"stoppedBy", text_of(probe.walls)}};
    Outcome without = lab->attempt(probe.walls, probe.name, probe.value);
    if (!probe.possible || is_not_here(without)) {
      std::cout << "  (nobody can do it on this machine)\n";
      line["notHere"] = true;
      return line;
    }
    EXPECT_TRUE(without.got_through())
        << probe.what << " without " << text_of(probe.walls) << ": " << without.text();
    for (Wall wall : probe.walls) {
      Walls left_out = probe.walls;
      left_out.erase(wall);
      if (!can_stand_alone(wall, left_out)) continue;
      Outcome behind_one = lab->attempt(left_out, probe.name, probe.value);
      EXPECT_FALSE(behind_one.got_through())
          << probe.what << " is not stopped by " << kNames.at(wall);
    }
    return line;
  }

  std::unique_ptr<JailLab> lab;
};

TEST_F(JailProbe, Files) {
  try_all(file_probes(*lab));
}

TEST_F(JailProbe, Processes) {
  try_all(process_probes(*lab));
}

TEST_F(JailProbe, Sockets) {
  try_all(socket_probes(*lab));
}

TEST_F(JailProbe, Kernel) {
  try_all(kernel_probes(*lab));
}

TEST_F(JailProbe, EachWallStopsSomething) {
  Walls needed, alone;
  for (auto& probes :
       {file_probes(*lab), process_probes(*lab), socket_probes(*lab), kernel_probes(*lab)}) {
    for (const Probe& probe : probes) {
      needed = needed + probe.walls;
      if (probe.walls.size() == 1) alone = alone + probe.walls;
    }
  }
  for (auto& [wall, name] : kNames) {
    EXPECT_EQ(needed.count(wall), 1u) << "nothing is tried on: " << name;
    if (alone.count(wall) == 0) std::cout << "stands behind others only: " << name << "\n";
  }
}

TEST_F(JailProbe, MemoryThatOthersShareCannotBeWritten) {
  Fd unsealed(::memfd_create("unsealed", MFD_CLOEXEC));
  ASSERT_EQ(::ftruncate(unsealed.get(), 1 << 20), 0);
  std::string memory = std::to_string(JailLab::memory);
  for (const char* way :
       {"write-to-descriptor", "write-again-opened", "punch-hole", "map-shared"}) {
    Outcome sealed = lab->attempt({}, way, memory);
    EXPECT_FALSE(sealed.got_through()) << way;
    std::cout << "tried shared memory by " << way << ": " << sealed.text() << " [its seals]\n";
    EXPECT_TRUE(lab->attempt({}, way, memory, {{JailLab::memory, unsealed.get()}}).got_through())
        << way << " is no attempt";
  }
}

TEST_F(JailProbe, ItHoldsItsOwnDescriptorsOnly) {
  EXPECT_FALSE(lab->attempt({}, "hold-other-descriptors", "").got_through());
  Fd other = open_file("/dev/null", O_RDONLY).value();
  EXPECT_TRUE(lab->attempt({}, "hold-other-descriptors", "", {{40, other.get()}}).got_through());
  // The root disk is open to read, and stays so.
  EXPECT_EQ(lab->attempt({}, "write-to-descriptor", std::to_string(JailLab::root_disk)).error,
            EBADF);
  EXPECT_TRUE(lab->attempt({}, "write-to-descriptor", std::to_string(JailLab::disk)).got_through());
}

TEST_F(JailProbe, ATerminalWouldBeOfNoUse) {
  Fd master(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
  ASSERT_TRUE(master);
  ASSERT_EQ(::grantpt(master.get()), 0);
  ASSERT_EQ(::unlockpt(master.get()), 0);
  Fd terminal(::open(::ptsname(master.get()), O_RDWR | O_NOCTTY | O_CLOEXEC));
  ASSERT_TRUE(terminal);
  std::map<int, int> with{{10, terminal.get()}};
  EXPECT_FALSE(lab->attempt({}, "type-into-terminal", "10", with).got_through());
  if (number_in("/proc/sys/dev/tty/legacy_tiocsti") == "0") return;
  EXPECT_TRUE(lab->attempt({Wall::filter}, "type-into-terminal", "10", with).got_through());
}

}  // namespace
}  // namespace hako::jail
