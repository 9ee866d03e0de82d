// What a guest sends out of its slot: where it arrives, how it is refused, and that none gets out.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <poll.h>
#include <sys/socket.h>

#include <chrono>
#include <cstring>
#include <optional>

#include "support/guest_stack.h"
#include "support/slot_fixture.h"

namespace hako::network {
namespace {

using test::GuestStack;
using test::ipv4;
using test::shell;
using Clock = std::chrono::steady_clock;

constexpr int kPatienceMs = 3000;
/// What arrives at all arrives by then; for what must not.
constexpr int kAMomentMs = 200;

bool readable(const Fd& socket, int ms) {
  pollfd wait{socket.get(), POLLIN, 0};
  return ::poll(&wait, 1, ms) == 1;
}

std::string text_of(in_addr address) {
  char text[INET_ADDRSTRLEN];
  return ::inet_ntop(AF_INET, &address, text, sizeof text);
}

std::string text_of(const sockaddr_in& address) {
  return text_of(address.sin_addr) + ":" + std::to_string(ntohs(address.sin_port));
}

/// A datagram with the address that it was sent to.
struct Question {
  sockaddr_in from{};
  in_addr to{};
  std::string text;
};

std::optional<Question> take_question(const Fd& dns, int patience_ms = kPatienceMs) {
  if (!readable(dns, patience_ms)) return std::nullopt;
  Question question;
  char text[512];
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(in_pktinfo))];
  iovec content{text, sizeof text};
  msghdr message{};
  message.msg_name = &question.from;
  message.msg_namelen = sizeof question.from;
  message.msg_iov = &content;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  ssize_t size = ::recvmsg(dns.get(), &message, 0);
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  if (size < 0 || !header || header->cmsg_type != IP_PKTINFO) return std::nullopt;
  in_pktinfo info;
  std::memcpy(&info, CMSG_DATA(header), sizeof info);
  question.to = info.ipi_addr;
  question.text.assign(text, static_cast<size_t>(size));
  return question;
}

void answer(const Fd& dns, Question question, std::string text) {
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(in_pktinfo))] = {};
  iovec content{text.data(), text.size()};
  msghdr message{};
  message.msg_name = &question.from;
  message.msg_namelen = sizeof question.from;
  message.msg_iov = &content;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = IPPROTO_IP;
  header->cmsg_type = IP_PKTINFO;
  header->cmsg_len = CMSG_LEN(sizeof(in_pktinfo));
  in_pktinfo info{};
  info.ipi_spec_dst = question.to;
  std::memcpy(CMSG_DATA(header), &info, sizeof info);
  EXPECT_EQ(::sendmsg(dns.get(), &message, 0), static_cast<ssize_t>(text.size()));
}

class EgressTest : public test::SlotTest {
 protected:
  void SetUp() override {
    SlotTest::SetUp();
    if (IsSkipped()) return;
    slot = make(0);
    auto opened = open_egress(slot);
    ASSERT_TRUE(opened) << opened.error().message();
    egress = std::move(opened).value();
    guest.emplace(slot);
  }

  /// In the slot's namespace, as somebody would who takes a wall away.
  void change(const std::string& command) {
    auto changed = in_namespace(slot.netns.get(), [&]() -> Result<void> {
      if (shell(command) != 0) return Error(ErrorCode::internal, command);
      return ok();
    });
    EXPECT_TRUE(changed) << (changed ? "" : changed.error().message());
  }

  Slot slot;
  EgressSockets egress;
  std::optional<GuestStack> guest;
};

TEST_F(EgressTest, TcpToAnyAddressAndPortArrivesWithItsDestination) {
  const std::pair<const char*, uint16_t> targets[] = {
      {"8.8.8.8", 443},       {"192.0.2.1", 1},       {"198.18.0.7", 65535}, {"10.0.0.1", 15001},
      {"169.254.169.254", 80}, {kHostAddress, 53},     {kHostAddress, 15001}, {"240.0.0.1", 22},
      {"100.64.0.1", 53},
  };
  for (auto [address, port] : targets) {
    SCOPED_TRACE(address);
    Fd client = guest->socket(SOCK_STREAM);
    ASSERT_EQ(guest->connect(client, address, port), 0);
    ASSERT_TRUE(readable(egress.listener, kPatienceMs));
    sockaddr_in from{}, to{};
    socklen_t size = sizeof from;
    Fd server(::accept4(egress.listener.get(), reinterpret_cast<sockaddr*>(&from), &size,
                        SOCK_CLOEXEC));
    ASSERT_TRUE(server);
    ::getsockname(server.get(), reinterpret_cast<sockaddr*>(&to), &size);
    EXPECT_EQ(text_of(to), std::string(address) + ":" + std::to_string(port));
    EXPECT_EQ(text_of(from.sin_addr), kGuestAddress);
    char text[8];
    ASSERT_EQ(::send(client.get(), "ask", 3, 0), 3);
    EXPECT_EQ(::recv(server.get(), text, sizeof text, 0), 3);
    ASSERT_EQ(::send(server.get(), "say", 3, 0), 3);
    EXPECT_EQ(::recv(client.get(), text, sizeof text, 0), 3);
  }
}

TEST_F(EgressTest, DnsToAnyAddressArrivesAndIsAnsweredFromThere) {
  for (const char* server : {kHostAddress, "1.1.1.1", "10.0.0.53", "169.254.169.254"}) {
    SCOPED_TRACE(server);
    Fd client = guest->socket(SOCK_DGRAM);
    // Connected: an answer from elsewhere would not be taken.
    ASSERT_EQ(guest->connect(client, server, 53), 0);
    ASSERT_EQ(::send(client.get(), "who", 3, 0), 3);
    auto question = take_question(egress.dns);
    ASSERT_TRUE(question);
    EXPECT_EQ(question->text, "who");
    EXPECT_EQ(text_of(question->to), server);
    EXPECT_EQ(text_of(question->from.sin_addr), kGuestAddress);
    answer(egress.dns, *question, "me");
    char text[8];
    EXPECT_EQ(::recv(client.get(), text, sizeof text, 0), 2);
  }
}

TEST_F(EgressTest, OtherUdpIsRefusedAtOnce) {
  auto began = Clock::now();
  // Many: refusals are not rationed.
  for (uint16_t port = 400; port < 450; ++port) {
    Fd client = guest->socket(SOCK_DGRAM);
    ASSERT_EQ(guest->connect(client, port % 2 ? "8.8.8.8" : kHostAddress, port), 0);
    ASSERT_EQ(::send(client.get(), "quic", 4, 0), 4);
    char text[8];
    EXPECT_EQ(::recv(client.get(), text, sizeof text, 0), -1);
    EXPECT_EQ(errno, EHOSTUNREACH);
  }
  EXPECT_LT(Clock::now() - began, std::chrono::seconds(2));
}

/// The type and code of the first ICMP message that comes from the host's side, but echo requests.
std::pair<int, int> next_icmp(const Fd& socket) {
  char packet[512];
  ssize_t size = ::recv(socket.get(), packet, sizeof packet, 0);
  if (size < static_cast<ssize_t>(sizeof(iphdr) + sizeof(icmphdr))) return {-1, -1};
  icmphdr icmp;
  std::memcpy(&icmp, packet + sizeof(iphdr), sizeof icmp);
  return {icmp.type, icmp.code};
}

TEST_F(EgressTest, PingAndRawPacketsAreRefusedAndNeverAnswered) {
  Fd icmp = guest->socket(SOCK_RAW, IPPROTO_ICMP);
  std::pair prohibited{ICMP_DEST_UNREACH, ICMP_PKT_FILTERED};
  for (const char* target : {"8.8.8.8", kHostAddress}) {
    icmphdr echo{};
    echo.type = ICMP_ECHO;
    echo.checksum = htons(static_cast<uint16_t>(~(ICMP_ECHO << 8)));
    sockaddr_in to = ipv4(target, 0);
    ASSERT_GT(::sendto(icmp.get(), &echo, sizeof echo, 0, reinterpret_cast<sockaddr*>(&to),
                       sizeof to),
              0);
    EXPECT_EQ(next_icmp(icmp), prohibited) << target;
    for (int protocol : {IPPROTO_GRE, IPPROTO_SCTP, IPPROTO_ESP}) {
      Fd raw = guest->socket(SOCK_RAW, protocol);
      ASSERT_EQ(::sendto(raw.get(), "raw", 3, 0, reinterpret_cast<sockaddr*>(&to), sizeof to), 3);
      EXPECT_EQ(next_icmp(icmp), prohibited) << target << " " << protocol;
    }
  }
}

TEST_F(EgressTest, NobodysAddressesAreRefusedAtOnce) {
  auto began = Clock::now();
  Fd client = guest->socket(SOCK_STREAM);
  EXPECT_EQ(guest->connect(client, "0.1.2.3", 80), EHOSTUNREACH);
  EXPECT_LT(Clock::now() - began, std::chrono::seconds(1));
}

TEST_F(EgressTest, Ipv6GoesNowhere) {
  auto opened = guest->inside([]() -> Result<Fd> {
    if (shell("ip -6 addr add 2001:db8::2/64 dev eth0 nodad && ip -6 neigh add 2001:db8::1 lladdr "
              "02:68:61:6b:6f:01 dev eth0 && ip -6 route add default via 2001:db8::1") != 0)
      return Error(ErrorCode::internal, "ip failed");
    return Fd(::socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  });
  if (!opened) GTEST_SKIP() << "this kernel has no IPv6";
  sockaddr_in6 target{};
  target.sin6_family = AF_INET6;
  target.sin6_port = htons(443);
  ::inet_pton(AF_INET6, "2606:4700::1111", &target.sin6_addr);
  ::connect(opened.value().get(), reinterpret_cast<sockaddr*>(&target), sizeof target);
  EXPECT_EQ(errno, EINPROGRESS);
  EXPECT_FALSE(readable(egress.listener, kAMomentMs));
}

TEST_F(EgressTest, SourcesThatAreNotTheGuestsAreDropped) {
  struct Spoof {
    const char *source, *target;
    bool to_all = false;
  };
  const Spoof spoofs[] = {{"10.0.0.1", kHostAddress},
                          {"8.8.8.8", "1.1.1.1"},
                          {kHostAddress, kHostAddress},
                          {"127.0.0.1", kHostAddress},
                          {"0.0.0.0", "255.255.255.255", true},
                          {kGuestAddress, "255.255.255.255", true},
                          {kGuestAddress, "224.0.0.1"},
                          {kGuestAddress, "127.0.0.1"}};
  for (const Spoof& spoof : spoofs)
    guest->send_udp(spoof.source, spoof.target, 53, "spoofed", spoof.to_all);
  guest->send_udp(kGuestAddress, "1.1.1.1", 53, "honest");
  auto first = take_question(egress.dns);
  ASSERT_TRUE(first);
  EXPECT_EQ(first->text, "honest") << text_of(first->from) << " to " << text_of(first->to);
  EXPECT_FALSE(take_question(egress.dns, kAMomentMs));

  // Each of the two walls holds alone; without both the probe arrives.
  change("sysctl -q net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.tap0.rp_filter=0 "
         "net.ipv4.conf.tap0.accept_local=1");
  guest->send_udp("10.0.0.1", kHostAddress, 53, "spoofed");
  EXPECT_FALSE(take_question(egress.dns, kAMomentMs));
  change("nft flush chain inet hako prerouting");
  guest->send_udp("10.0.0.1", kHostAddress, 53, "spoofed");
  EXPECT_TRUE(take_question(egress.dns));
}

TEST_F(EgressTest, TheNamespacesLoopbackIsOutOfReach) {
  auto service = in_namespace(slot.netns.get(), []() -> Result<Fd> {
    Fd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    int on = 1;
    ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
    ::setsockopt(socket.get(), IPPROTO_IP, IP_PKTINFO, &on, sizeof on);
    sockaddr_in here = ipv4("127.0.0.1", 53);
    if (::bind(socket.get(), reinterpret_cast<sockaddr*>(&here), sizeof here) < 0)
      return Error::from_errno(errno, "bind");
    return socket;
  });
  ASSERT_TRUE(service) << service.error().message();
  guest->send_udp(kGuestAddress, "127.0.0.1", 53, "in");
  EXPECT_FALSE(take_question(service.value(), kAMomentMs));
  change("nft flush chain inet hako prerouting");
  guest->send_udp(kGuestAddress, "127.0.0.1", 53, "in");
  EXPECT_FALSE(take_question(service.value(), kAMomentMs));
  change("sysctl -q net.ipv4.conf.tap0.route_localnet=1");
  guest->send_udp(kGuestAddress, "127.0.0.1", 53, "in");
  EXPECT_TRUE(take_question(service.value()));
}

TEST_F(EgressTest, WithItsSocketsClosedEverythingIsRefusedAtOnce) {
  egress = {};
  auto began = Clock::now();
  Fd tcp = guest->socket(SOCK_STREAM);
  EXPECT_EQ(guest->connect(tcp, "8.8.8.8", 443), ECONNREFUSED);
  Fd udp = guest->socket(SOCK_DGRAM);
  ASSERT_EQ(guest->connect(udp, kHostAddress, 53), 0);
  ASSERT_EQ(::send(udp.get(), "who", 3, 0), 3);
  char text[8];
  EXPECT_EQ(::recv(udp.get(), text, sizeof text, 0), -1);
  EXPECT_EQ(errno, ECONNREFUSED);
  EXPECT_LT(Clock::now() - began, std::chrono::seconds(1));
}

TEST_F(EgressTest, NewSocketsTakeTheOldOnesPlace) {
  auto again = open_egress(slot);
  ASSERT_TRUE(again) << again.error().message();
  egress = {};
  Fd client = guest->socket(SOCK_STREAM);
  EXPECT_EQ(guest->connect(client, "8.8.8.8", 443), 0);
  EXPECT_TRUE(readable(again.value().listener, kPatienceMs));
  guest->send_udp(kGuestAddress, "1.1.1.1", 53, "who");
  EXPECT_TRUE(take_question(again.value().dns));
  for (const Fd* socket : {&again.value().listener, &again.value().dns}) {
    EXPECT_TRUE(::fcntl(socket->get(), F_GETFL) & O_NONBLOCK);
    EXPECT_TRUE(::fcntl(socket->get(), F_GETFD) & FD_CLOEXEC);
  }
}

TEST_F(EgressTest, ConnectionsIntoTheGuestAreNotCaught) {
  Fd service = guest->socket(SOCK_STREAM);
  sockaddr_in here = ipv4(kGuestAddress, 49983);
  ASSERT_EQ(::bind(service.get(), reinterpret_cast<sockaddr*>(&here), sizeof here), 0);
  ASSERT_EQ(::listen(service.get(), 8), 0);
  auto sockets = open_sockets(slot, 1);
  ASSERT_TRUE(sockets);
  const Fd& client = sockets.value()[0];
  ::connect(client.get(), reinterpret_cast<sockaddr*>(&here), sizeof here);
  Fd served(::accept4(service.get(), nullptr, nullptr, SOCK_CLOEXEC));
  ASSERT_TRUE(served);
  ASSERT_EQ(::send(served.get(), "out", 3, 0), 3);
  ASSERT_TRUE(readable(client, kPatienceMs));
  char text[8];
  EXPECT_EQ(::recv(client.get(), text, sizeof text, 0), 3);
  EXPECT_FALSE(readable(egress.listener, kAMomentMs));
}

/// A second interface in the slot with a way out over it, and an eye on its other end.
class WayOut {
 public:
  explicit WayOut(const Slot& slot) {
    auto made = in_namespace(slot.netns.get(), [&]() -> Result<void> {
      if (shell("ip link add out0 type veth peer name out1 && ip link set out0 up && ip link set "
                "out1 up && ip addr add 192.0.2.2/30 dev out0 && ip neigh add 192.0.2.1 lladdr "
                "02:00:00:00:00:01 dev out0 && ip route add default via 192.0.2.1 metric 9") != 0)
        return Error(ErrorCode::internal, "ip failed");
      eye_ = Fd(::socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, htons(ETH_P_IP)));
      sockaddr_ll where{};
      where.sll_family = AF_PACKET;
      where.sll_protocol = htons(ETH_P_IP);
      where.sll_ifindex = static_cast<int>(::if_nametoindex("out1"));
      if (::bind(eye_.get(), reinterpret_cast<sockaddr*>(&where), sizeof where) < 0)
        return Error::from_errno(errno, "watch out1");
      return ok();
    });
    EXPECT_TRUE(made) << (made ? "" : made.error().message());
  }
  /// Whether a datagram of the guest for 8.8.8.8 comes out there.
  bool lets_out(const GuestStack& guest) {
    std::string text = "secret " + random_hex(4);
    guest.send_udp(kGuestAddress, "8.8.8.8", 443, text);
    auto until = Clock::now() + std::chrono::milliseconds(kAMomentMs);
    while (Clock::now() < until) {
      if (!readable(eye_, kAMomentMs)) return false;
      char packet[512];
      ssize_t size = ::recv(eye_.get(), packet, sizeof packet, 0);
      std::string_view seen(packet, size > 0 ? static_cast<size_t>(size) : 0);
      if (seen.find(text) != std::string_view::npos) return true;
    }
    return false;
  }

 private:
  Fd eye_;
};

TEST_F(EgressTest, EachWallHoldsAloneAndWithoutThemPacketsGetOut) {
  WayOut way(slot);
  const std::pair<const char*, const char*> walls[] = {
      // Taken away, and put up again.
      {"ip route del local default table main", "ip route add local default dev lo table main"},
      {"sysctl -q net.ipv4.ip_forward=1", "sysctl -q net.ipv4.ip_forward=0"},
      {"nft 'chain inet hako forward { policy accept; }'",
       "nft 'chain inet hako forward { policy drop; }'"},
  };
  EXPECT_FALSE(way.lets_out(*guest));
  for (const auto& wall : walls) change(wall.first);
  EXPECT_TRUE(way.lets_out(*guest)) << "the probe finds nothing";
  for (const auto& [down, up] : walls) {
    change(up);
    EXPECT_FALSE(way.lets_out(*guest)) << up;
    change(down);
    EXPECT_TRUE(way.lets_out(*guest)) << down;
  }
}

}  // namespace
}  // namespace hako::network
