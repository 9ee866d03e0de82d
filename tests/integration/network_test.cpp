// Slots on the real kernel. Needs root and /dev/net/tun.
#include "network/slot.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <iostream>
#include <thread>

#include "base/random.h"
#include "network/namespace.h"
#include "support/own_mounts.h"
#include "support/slot_fixture.h"

namespace hako::network {
namespace {

using test::ipv4;
using test::shell;
using test::SlotTest;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::UnorderedElementsAre;

/// Where the test's own outside world listens: an address range kept for documentation.
constexpr char kOutsideAddress[] = "192.0.2.1";
constexpr char kInsideOfVeth[] = "192.0.2.2";

/// A listener in the calling thread's namespace.
Fd listen_here(const char* address, uint16_t& port) {
  Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in where = ipv4(address, 0);
  EXPECT_EQ(::bind(socket.get(), reinterpret_cast<sockaddr*>(&where), sizeof where), 0);
  EXPECT_EQ(::listen(socket.get(), 8), 0);
  socklen_t size = sizeof where;
  ::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&where), &size);
  port = ntohs(where.sin_port);
  return socket;
}

/// How a TCP connection from the slot ends: 0 if it stands, else the errno.
int connect_from(const Slot& slot, const char* address, uint16_t port) {
  auto sockets = open_sockets(slot, 1);
  EXPECT_TRUE(sockets);
  int socket = sockets.value()[0].get();
  sockaddr_in target = ipv4(address, port);
  if (::connect(socket, reinterpret_cast<sockaddr*>(&target), sizeof target) == 0) return 0;
  if (errno != EINPROGRESS) return errno;
  pollfd wait{socket, POLLOUT, 0};
  if (::poll(&wait, 1, 3000) != 1) return ETIMEDOUT;
  int error = 0;
  socklen_t size = sizeof error;
  ::getsockopt(socket, SOL_SOCKET, SO_ERROR, &error, &size);
  return error;
}

Result<std::string> read_inside(const Slot& slot, const std::string& path) {
  return in_namespace(slot.netns.get(), [&] { return read_file(path); });
}

TEST_F(SlotTest, HoldsALinkToTheGuestAndNothingElse) {
  Slot slot = make(3);
  auto inside = inspect_slot(slot);
  ASSERT_TRUE(inside) << inside.error().message();
  EXPECT_THAT(inside.value().interfaces, UnorderedElementsAre("lo", kTapName));
  EXPECT_THAT(inside.value().routes, ElementsAre("169.254.0.20/30"));
  EXPECT_TRUE(inside.value().everything_is_local);
  EXPECT_FALSE(inside.value().forwarding);
  EXPECT_TRUE(inside.value().forwarded_is_dropped);
  EXPECT_TRUE(inside.value().firewall_is_whole)
      << testing::PrintToString(inside.value().firewall);
  EXPECT_THAT(inside.value().firewall,
              Contains("meta l4proto 6 tproxy ip to :15001 accept"));
  EXPECT_THAT(inside.value().firewall, Contains("reject with icmp admin-prohibited"));

  auto neighbours = read_inside(slot, "/proc/thread-self/net/arp");
  ASSERT_TRUE(neighbours);
  EXPECT_THAT(neighbours.value(), HasSubstr(kGuestAddress));
  EXPECT_THAT(neighbours.value(), HasSubstr(kGuestMac));
  auto v6 = read_inside(slot, "/proc/thread-self/net/if_inet6");
  EXPECT_EQ(v6 ? v6.value() : "", "");
  auto rp_filter = read_inside(slot, "/proc/sys/net/ipv4/conf/tap0/rp_filter");
  ASSERT_TRUE(rp_filter);
  EXPECT_EQ(rp_filter.value(), "1\n");
}

TEST_F(SlotTest, CanBeMadeByAProcessWithManyDescriptors) {
  rlimit limit{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &limit), 0);
  rlimit more = limit;
  more.rlim_cur = limit.rlim_max;
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &more), 0);
  std::vector<Fd> many;
  while (many.empty() || many.back().get() < 1100) {
    int fd = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
    ASSERT_GE(fd, 0);
    many.emplace_back(fd);
  }
  auto slot = create_slot(directory, 1);
  many.clear();
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &limit), 0);
  ASSERT_TRUE(slot) << slot.error().message();
  auto inside = inspect_slot(slot.value());
  ASSERT_TRUE(inside) << inside.error().message();
  EXPECT_TRUE(inside.value().firewall_is_whole);
}

TEST_F(SlotTest, AMissingWallShowsInTheInspection) {
  Slot slot = make(0);
  auto broken = in_namespace(slot.netns.get(), []() -> Result<void> {
    HAKO_TRY(auto file, open_file("/proc/sys/net/ipv4/ip_forward", O_WRONLY));
    HAKO_TRYV(write_all(file.get(), "1"));
    if (shell("ip link add extra type veth peer name extra2 && ip link set extra up && "
              "ip link set extra2 up && ip addr add 192.0.2.9/32 dev extra && ip route add default "
              "dev extra metric 9") != 0)
      return Error(ErrorCode::internal, "ip failed");
    return ok();
  });
  ASSERT_TRUE(broken) << broken.error().message();
  auto inside = inspect_slot(slot);
  ASSERT_TRUE(inside);
  EXPECT_TRUE(inside.value().forwarding);
  EXPECT_THAT(inside.value().interfaces, UnorderedElementsAre("lo", kTapName, "extra", "extra2"));
  EXPECT_THAT(inside.value().routes, UnorderedElementsAre("169.254.0.20/30", "default dev extra"));
}

TEST_F(SlotTest, EachRuleThatIsMissingShowsInTheInspection) {
  Slot slot = make(0);
  auto change = [&](const std::string& command) {
    EXPECT_TRUE(in_namespace(slot.netns.get(), [&]() -> Result<void> {
      if (shell(command) != 0) return Error(ErrorCode::internal, command);
      return ok();
    }));
    auto inside = inspect_slot(slot);
    EXPECT_TRUE(inside);
    return inside ? inside.value() : SlotInspection{};
  };
  auto more = change("nft add rule inet hako input accept");
  EXPECT_FALSE(more.firewall_is_whole);
  EXPECT_TRUE(more.forwarded_is_dropped);
  EXPECT_FALSE(change("nft 'chain inet hako forward { policy accept; }'").forwarded_is_dropped);
  EXPECT_THAT(change("nft flush chain inet hako prerouting").firewall,
              Not(Contains(HasSubstr("tproxy"))));
  EXPECT_FALSE(change("ip route del local default table main").everything_is_local);
}

TEST_F(SlotTest, ASlotOfAnEarlierVersionGetsTheWallsOfThisOne) {
  Slot slot = make(0);
  ASSERT_TRUE(in_namespace(slot.netns.get(), []() -> Result<void> {
    if (shell("ip route del local default table main && nft flush ruleset && "
              "nft 'table inet hako { chain forward { type filter hook forward priority 0; "
              "policy drop; }; }' && sysctl -q net.ipv4.icmp_ratemask=6168") != 0)
      return Error(ErrorCode::internal, "the shell failed");
    return ok();
  }));
  ASSERT_FALSE(inspect_slot(slot).value().firewall_is_whole);
  // While a VMM runs in it.
  auto tap = open_tap(slot);
  ASSERT_TRUE(tap);
  auto again = open_slot(directory, 0);
  ASSERT_TRUE(again) << again.error().message();
  auto inside = inspect_slot(slot);
  EXPECT_TRUE(inside.value().firewall_is_whole);
  EXPECT_TRUE(inside.value().everything_is_local);
  EXPECT_EQ(read_inside(slot, "/proc/sys/net/ipv4/icmp_ratemask").value(), "0\n");
}

TEST_F(SlotTest, NothingOutsideCanBeReachedUnlessALinkIsAdded) {
  Slot slot = make(1);
  // The world outside: a namespace of the test's own, with a listener on a documentation address.
  std::string name = "hako-t-" + random_hex(3);
  auto outside = empty_namespace(directory + "/outside");
  ASSERT_TRUE(outside);
  uint16_t port = 0;
  Fd listener;
  ASSERT_TRUE(in_namespace(outside.value().get(), [&]() -> Result<void> {
    if (shell("ip link add " + name + " type veth peer name " + name + "p && ip addr add " +
              kOutsideAddress + "/30 dev " + name + " && ip link set " + name + " up") != 0)
      return Error(ErrorCode::internal, "ip failed");
    listener = listen_here(kOutsideAddress, port);
    return ok();
  }));
  uint16_t host_port = 0;
  Fd host_listener = listen_here("127.0.0.1", host_port);

  auto began = std::chrono::steady_clock::now();
  // Every address is the slot's own, where nobody listens.
  EXPECT_EQ(connect_from(slot, kOutsideAddress, port), ECONNREFUSED);
  // Refused by the slot's own loopback: the host's listener is not there.
  EXPECT_EQ(connect_from(slot, "127.0.0.1", host_port), ECONNREFUSED);
  EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds(3)) << "must not hang";

  // With the wall removed the same probe gets through, so it does probe something.
  std::string peer = name + "p";
  std::string slot_path = directory + "/slot-1";
  ASSERT_TRUE(in_namespace(outside.value().get(), [&]() -> Result<void> {
    if (shell("ip link set " + peer + " netns " + slot_path) != 0)
      return Error(ErrorCode::internal, "ip failed");
    return ok();
  }));
  ASSERT_TRUE(in_namespace(slot.netns.get(), [&]() -> Result<void> {
    if (shell("ip addr add " + std::string(kInsideOfVeth) + "/30 dev " + peer + " && ip link set " +
              peer + " up") != 0)
      return Error(ErrorCode::internal, "ip failed");
    return ok();
  }));
  EXPECT_EQ(connect_from(slot, kOutsideAddress, port), 0);
  EXPECT_TRUE(remove_empty_namespace(directory + "/outside"));
}

TEST_F(SlotTest, SlotsWithTheSameAddressesDoNotSeeEachOther) {
  Slot first = make(1), second = make(2);
  uint16_t port = 0;
  auto listener = in_namespace(first.netns.get(),
                               [&]() -> Result<Fd> { return listen_here(kHostAddress, port); });
  ASSERT_TRUE(listener);
  EXPECT_EQ(connect_from(first, kHostAddress, port), 0);
  EXPECT_EQ(connect_from(second, kHostAddress, port), ECONNREFUSED);
}

TEST_F(SlotTest, SocketsAreReadyForTheEventLoop) {
  Slot slot = make(0);
  auto sockets = open_sockets(slot, 5);
  ASSERT_TRUE(sockets);
  ASSERT_EQ(sockets.value().size(), 5u);
  for (auto& socket : sockets.value()) {
    EXPECT_TRUE(::fcntl(socket.get(), F_GETFL) & O_NONBLOCK);
    EXPECT_TRUE(::fcntl(socket.get(), F_GETFD) & FD_CLOEXEC);
    int no_delay = 0;
    socklen_t size = sizeof no_delay;
    ::getsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &no_delay, &size);
    EXPECT_EQ(no_delay, 1);
  }
  EXPECT_EQ(open_sockets(slot, 100000).error().code(), ErrorCode::invalid_argument);
  EXPECT_TRUE(open_sockets(slot, 0).value().empty());
}

TEST_F(SlotTest, TheTapHasOneUserAtATimeAndOutlivesHim) {
  Slot slot = make(0);
  auto first = open_tap(slot);
  ASSERT_TRUE(first) << first.error().message();
  auto second = open_tap(slot);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code(), ErrorCode::failed_precondition);
  first.value().reset();
  EXPECT_TRUE(open_tap(slot));
  // With its tap gone a slot is broken, and does not quietly get another one.
  ASSERT_TRUE(in_namespace(slot.netns.get(), []() -> Result<void> {
    if (shell("ip link del tap0") != 0) return Error(ErrorCode::internal, "ip failed");
    return ok();
  }));
  EXPECT_EQ(open_tap(slot).error().code(), ErrorCode::not_found);
}

/// The packet that leaves the namespace for the guest, read from the VMM's end of the tap.
TEST_F(SlotTest, PacketsForTheGuestComeOutOfTheTapWithTheConstantAddresses) {
  Slot slot = make(0);
  auto tap = open_tap(slot);
  ASSERT_TRUE(tap);
  auto sockets = open_sockets(slot, 1);
  ASSERT_TRUE(sockets);
  sockaddr_in guest = ipv4(kGuestAddress, 49983);
  EXPECT_EQ(::connect(sockets.value()[0].get(), reinterpret_cast<sockaddr*>(&guest), sizeof guest),
            -1);
  EXPECT_EQ(errno, EINPROGRESS);
  pollfd wait{tap.value().get(), POLLIN, 0};
  ASSERT_EQ(::poll(&wait, 1, 3000), 1);
  uint8_t packet[2048];
  ssize_t n = ::read(tap.value().get(), packet, sizeof packet);
  constexpr int kVirtioHeader = 10;
  ASSERT_GT(n, kVirtioHeader + 34);
  const uint8_t* ethernet = packet + kVirtioHeader;
  EXPECT_THAT(std::vector<uint8_t>(ethernet, ethernet + 6),
              ElementsAre(0x02, 0x68, 0x61, 0x6b, 0x6f, 0x02));
  EXPECT_THAT(std::vector<uint8_t>(ethernet + 6, ethernet + 12),
              ElementsAre(0x02, 0x68, 0x61, 0x6b, 0x6f, 0x01));
  EXPECT_THAT(std::vector<uint8_t>(ethernet + 12, ethernet + 14), ElementsAre(0x08, 0x00));
  EXPECT_THAT(std::vector<uint8_t>(ethernet + 26, ethernet + 30), ElementsAre(169, 254, 0, 22));
}

TEST_F(SlotTest, SlotsAreFoundAgainAndDestroyedOnce) {
  make(4);
  make(11);
  EXPECT_THAT(list_slots(directory).value(), ElementsAre(4, 11));
  auto again = open_slot(directory, 11);
  ASSERT_TRUE(again);
  EXPECT_TRUE(inspect_slot(again.value()));
  EXPECT_EQ(create_slot(directory, 4).error().code(), ErrorCode::already_exists);
  EXPECT_EQ(open_slot(directory, 5).error().code(), ErrorCode::not_found);
  EXPECT_TRUE(destroy_slot(directory, 4));
  EXPECT_TRUE(destroy_slot(directory, 4));
  EXPECT_EQ(open_slot(directory, 4).error().code(), ErrorCode::not_found);
  EXPECT_THAT(list_slots(directory).value(), ElementsAre(11));
  // Still in use through its descriptor, though it has no name any more.
  EXPECT_TRUE(destroy_slot(directory, 11));
  EXPECT_TRUE(inspect_slot(again.value()));
  EXPECT_TRUE(list_slots(directory + "/missing").value().empty());
}

TEST_F(SlotTest, LeftoversOfAnInterruptedRunAreReplaced) {
  make(0);
  ASSERT_TRUE(open_file(directory + "/slot-7", O_CREAT | O_WRONLY, 0600));
  EXPECT_EQ(open_slot(directory, 7).error().code(), ErrorCode::not_found);
  EXPECT_THAT(list_slots(directory).value(), ElementsAre(0, 7));
  EXPECT_TRUE(inspect_slot(make(7)));
  // Bound twice over: one destroy is enough.
  ASSERT_EQ(::mount((directory + "/slot-0").c_str(), (directory + "/slot-7").c_str(), nullptr,
                    MS_BIND, nullptr),
            0);
  EXPECT_TRUE(destroy_slot(directory, 7));
  EXPECT_THAT(list_slots(directory).value(), ElementsAre(0));
  ASSERT_TRUE(open_file(directory + "/slot-8", O_CREAT | O_WRONLY, 0600));
  EXPECT_TRUE(destroy_slot(directory, 8));
  EXPECT_FALSE(release_slots(directory)) << "slot 0 is still there";
}

TEST_F(SlotTest, UnbindingFreesTheNamespaceForHoldersOfCopiedMounts) {
  make(0);
  struct stat before {};
  ASSERT_EQ(::stat((directory + "/slot-0").c_str(), &before), 0);
  // A process that copied all mounts, as any service with private mounts would.
  int ready[2], go[2];
  ASSERT_EQ(::pipe2(ready, O_CLOEXEC), 0);
  ASSERT_EQ(::pipe2(go, O_CLOEXEC), 0);
  pid_t child = ::fork();
  if (child == 0) {
    char c = 0;
    if (!testing_support::own_mounts(MS_SLAVE)) ::_exit(3);
    if (::write(ready[1], &c, 1) != 1 || ::read(go[0], &c, 1) != 1) ::_exit(4);
    struct stat after {};
    std::string path = directory + "/slot-0";
    bool gone = ::stat(path.c_str(), &after) < 0 || after.st_ino != before.st_ino;
    ::_exit(gone ? 0 : 1);
  }
  char c = 0;
  ASSERT_EQ(::read(ready[0], &c, 1), 1);
  EXPECT_TRUE(destroy_slot(directory, 0));
  ASSERT_EQ(::write(go[1], &c, 1), 1);
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

TEST_F(SlotTest, AnEmptyNamespaceHasNothingUp) {
  std::string path = directory + "/none";
  auto made = empty_namespace(path);
  ASSERT_TRUE(made) << made.error().message();
  make(0);  // in the same folder, and later
  auto opened = empty_namespace(path);
  ASSERT_TRUE(opened);
  struct stat a {
  }, b{};
  ::fstat(made.value().get(), &a);
  ::fstat(opened.value().get(), &b);
  EXPECT_EQ(a.st_ino, b.st_ino);
  Slot bare{0, std::move(made.value())};
  EXPECT_EQ(connect_from(bare, "127.0.0.1", 1), ENETUNREACH);
  auto inside = inspect_slot(bare);
  ASSERT_TRUE(inside);
  EXPECT_THAT(inside.value().routes, ElementsAre());
  EXPECT_TRUE(remove_empty_namespace(path));
  EXPECT_TRUE(remove_empty_namespace(path));
}

/// Runs `check` in a process of its own; its return value is the exit status.
template <class Check>
int in_child(Check check) {
  std::cout.flush();
  pid_t child = ::fork();
  if (child == 0) ::_exit(check());
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST_F(SlotTest, WithoutRootItIsRefused) {
  std::filesystem::create_directory(directory);
  ASSERT_EQ(::chmod(directory.c_str(), 0777), 0);
  EXPECT_EQ(in_child([&] {
              if (::setresgid(65534, 65534, 65534) < 0 || ::setresuid(65534, 65534, 65534) < 0)
                return 9;
              auto slot = create_slot(directory, 0);
              return !slot && slot.error().code() == ErrorCode::permission_denied ? 0 : 1;
            }),
            0);
}

TEST_F(SlotTest, WithoutTheTunDeviceTheErrorNamesIt) {
  int result = in_child([&] {
    // Hidden from this process only.
    if (!testing_support::own_mounts(MS_PRIVATE) ||
        ::mount("none", "/dev/net", "tmpfs", 0, nullptr) < 0)
      return 9;
    auto slot = create_slot(directory, 0);
    if (slot || slot.error().message().find("/dev/net/tun") == std::string::npos) return 1;
    // Nothing is left of the attempt.
    return list_slots(directory).value().empty() ? 0 : 2;
  });
  EXPECT_EQ(result, 0);
  // The directory was mounted in the child's world only.
  EXPECT_TRUE(list_slots(directory).value().empty());
}

TEST_F(SlotTest, ManyAtOnce) {
  using Clock = std::chrono::steady_clock;
  auto ms = [](Clock::duration d) {
    return std::chrono::duration_cast<std::chrono::microseconds>(d).count() / 1000.0;
  };
  auto began = Clock::now();
  make(0);
  auto one = Clock::now() - began;
  began = Clock::now();
  for (int i = 1; i <= 50; ++i) make(i);
  auto serial = (Clock::now() - began) / 50;

  constexpr int kThreads = 4, kEach = 25;
  std::vector<std::thread> threads;
  std::atomic<int> made = 0;
  began = Clock::now();
  for (int t = 0; t < kThreads; ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < kEach; ++i)
        if (create_slot(directory, 100 + t * kEach + i)) ++made;
    });
  for (auto& thread : threads) thread.join();
  auto batch = Clock::now() - began;
  EXPECT_EQ(made, kThreads * kEach);
  EXPECT_EQ(list_slots(directory).value().size(), 151u);

  auto slot = open_slot(directory, 100);
  began = Clock::now();
  EXPECT_TRUE(open_sockets(slot.value(), 16));
  auto sockets = Clock::now() - began;
  began = Clock::now();
  auto numbers = list_slots(directory).value();
  for (int number : numbers) EXPECT_TRUE(destroy_slot(directory, number));
  auto destroyed = (Clock::now() - began) / 151;
  std::cout << "first " << ms(one) << " ms, then " << ms(serial) << " ms each; 100 by 4 threads "
            << ms(batch) << " ms; 16 sockets " << ms(sockets) << " ms; destroy " << ms(destroyed)
            << " ms each\n";
}

}  // namespace
}  // namespace hako::network
