// What api and gate still reach when they have been taken over. Each attempt is refused behind all
// walls, and gets through without those that are said to stop it. Needs root.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <iostream>

#include "jail/jail.h"
#include "jail/secluded.h"
#include "support/in_child.h"
#include "support/jail_launch.h"
#include "support/jail_probe.h"
#include "support/run_value.h"

namespace hako::jail {
namespace {

using testing_support::in_child;
using testing_support::JailLab;

constexpr uid_t kUid = JailLab::kUid;

int attempt(const std::string& name, const std::string& value) {
  for (auto attempts : {jail_probe::file_attempts(), jail_probe::process_attempts(),
                        jail_probe::socket_attempts(), jail_probe::kernel_attempts()})
    for (const jail_probe::Attempt& each : attempts)
      if (name == each.name) return each.run(value);
  return ENOSYS;
}

enum Walls : unsigned { view = 1, user = 2, filter = 4, all = 7 };

struct Probe {
  const char* what;
  std::string name, value;
  unsigned stopped_by;  ///< of Walls
};

class Daemons : public testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root";
    lab = std::make_unique<JailLab>();
    // Beside the lab's, as that one is what must not be seen.
    char name[] = "/tmp/hako-daemon-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    own = name;
    ASSERT_EQ(::chown(name, kUid, kUid), 0);
  }

  void TearDown() override {
    if (!own.empty()) std::filesystem::remove_all(own);
  }

  std::vector<Shown> files_of_api() const {
    using As = Shown::As;
    return {{"/usr", As::program, true},
            {"/etc", As::read_only, true},
            {"/dev/null", As::device},
            {own, As::writable}};
  }

  /// 0, or what went wrong.
  int become_api(unsigned walls) const {
    if (walls & view) {
      if (!confine_daemon(kUid, kUid, files_of_api())) return 251;
    } else if (walls & user) {
      if (!drop_privileges(kUid, kUid)) return 252;
    }
    if ((walls & filter) && !confine_api()) return 253;
    return 0;
  }

  int try_as_api(unsigned walls, const Probe& probe) const {
    return in_child([&] {
      if (int failed = become_api(walls)) return failed;
      return attempt(probe.name, probe.value);
    });
  }

  std::unique_ptr<JailLab> lab;
  std::string own;
};

TEST_F(Daemons, ApiIsStoppedByItsWalls) {
  std::string own_process = std::to_string(lab->own_process);
  std::vector<Probe> probes{
      {"a file all may read", "read-file", lab->open_file, view},
      {"a file all may write", "open-to-write", lab->open_file, view},
      {"a new file", "make-file", lab->folder, view},
      {"what folders there are", "list-folder", lab->folder, view},
      {"the kernel's view of devices", "list-folder", "/sys/class", view},
      {"a daemon's socket", "connect-local", lab->socket_path, view},
      {"passwords", "read-file", "/etc/shadow", user},
      {"a setting of the kernel", "open-to-write", "/proc/sys/kernel/core_pattern", view | user},
      {"tracing a process of its own uid", "trace", own_process, filter},
      {"reading memory of a process of its own uid", "read-memory", lab->own_memory, filter},
      {"a user namespace", "user-namespace", "", filter},
      {"a child in a user namespace", "clone-into-namespaces", "", filter},
      {"a network namespace", "network-namespace", "", user | filter},
      {"a mount", "mount", "", user | filter},
      {"another root", "change-root", "", user | filter},
      {"raw IP", "raw-ip", "", user | filter},
      {"raw packets", "packets", "", user | filter},
      {"netlink", "netlink", "", filter},
      {"raw IP in a network of its own", "raw-ip-in-own-network", "", filter},
      {"raw packets in a network of its own", "packets-in-own-network", "", filter},
      {"packet filters in a network of its own", "packet-filter-in-own-network", "", filter},
      {"a time namespace", "time-namespace", "", user | filter},
      {"vsock", "vsock", "", filter},
      {"io_uring", "io-uring", "", filter},
      {"keyrings", "keys", "", filter},
      {"performance events", "performance-events", "", filter},
      {"page faults of its own to handle", "user-faults", "", filter},
      {"programs at known addresses", "switch-randomisation-off", "", filter},
      {"shared memory", "shared-memory", std::to_string(lab->shm_key), view | filter},
      {"the clock", "set-clock", "", user | filter},
  };
  for (const Probe& probe : probes) {
    int behind_all = try_as_api(all, probe);
    EXPECT_NE(behind_all, 0) << probe.what;
    EXPECT_TRUE(behind_all < 251) << probe.what << ": " << behind_all;
    std::cout << "tried " << probe.what << ": "
              << (behind_all < 0 ? ::strsignal(-behind_all) : ::strerror(behind_all)) << "\n";
    // The view is made by what drops privileges as well.
    unsigned without = all & ~probe.stopped_by;
    if ((probe.stopped_by & user) && !(probe.stopped_by & view)) without &= ~unsigned(view);
    int freely = try_as_api(without, probe);
    if (freely == ENOSYS || freely == EAFNOSUPPORT) continue;
    EXPECT_EQ(freely, 0) << probe.what << " without its walls";
    for (unsigned wall : {unsigned(user), unsigned(filter)}) {
      if (probe.stopped_by & wall) {
        EXPECT_NE(try_as_api(wall, probe), 0) << probe.what;
      }
    }
  }
}

/// Sockets of this machine's folder for them are reached through the view, and its own folder can
/// be written to; nothing else is left of the api's work but names and pulls.
TEST_F(Daemons, ApiStillDoesItsWork) {
  EXPECT_EQ(in_child([&] {
              std::string path = own + "/node.sock";
              sockaddr_un address{};
              address.sun_family = AF_UNIX;
              ::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
              Fd listener(::socket(AF_UNIX, SOCK_STREAM, 0));
              if (::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) < 0)
                return 1;
              if (::listen(listener.get(), 1) < 0) return 1;
              if (::chmod(path.c_str(), 0666) < 0) return 1;
              if (int failed = become_api(all)) return failed;
              if (attempt("connect-local", path) != 0) return 2;
              if (attempt("make-file", own) != 0) return 3;
              asio::io_context loop;
              ProcessSpec spec{"/bin/true", {"true"}, {}, {}};
              auto child = launch_secluded(loop.get_executor(), spec, {{"127.0.0.1", 5000}});
              if (!child) {
                std::cerr << child.error().message() << "\n";
                return 5;
              }
              return test::run_value(loop, child.value().process.wait()).code == 0 ? 0 : 6;
            }),
            0);
}

TEST_F(Daemons, GateConnectsByPathToItsNeighboursOnly) {
  auto connect_as_gate = [&](bool seen) {
    return in_child([&] {
      if (!confine_daemon(kUid, kUid, {{seen ? lab->folder : own}})) return 251;
      if (!confine_gate()) return 252;
      return attempt("connect-local", lab->socket_path);
    });
  };
  EXPECT_EQ(connect_as_gate(false), ENOENT);
  EXPECT_EQ(connect_as_gate(true), 0);
  // Nor is anything else there, should its filter not hold.
  EXPECT_EQ(in_child([&] {
              if (!confine_daemon(kUid, kUid, {{own}})) return 251;
              return attempt("read-file", "/etc/hosts");
            }),
            ENOENT);
}

}  // namespace
}  // namespace hako::jail
