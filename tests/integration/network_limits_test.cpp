// How much of what a guest sends a slot lets through. Needs root.
#include <gmock/gmock.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <optional>

#include "support/guest_stack.h"
#include "support/slot_fixture.h"

namespace hako::network {
namespace {

using test::GuestStack;

/// What arrives at all has arrived by then.
constexpr int kQuietMs = 200;
constexpr char kSomewhere[] = "192.0.2.53";

/// Nothing is held back.
constexpr SlotLimits kNone{0, 0, 0, 0};

class SlotLimitsTest : public test::SlotTest {
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

  void limit(const SlotLimits& limits) {
    auto again = open_slot(directory, 0, limits);
    ASSERT_TRUE(again) << again.error().message();
    auto inside = inspect_slot(slot, limits);
    ASSERT_TRUE(inside);
    EXPECT_TRUE(inside.value().firewall_is_whole)
        << testing::PrintToString(inside.value().firewall);
  }

  /// Datagrams of this size that reach the gate's socket, of so many sent in lots of 50.
  int arrived_of(int count, size_t size) {
    int arrived = 0;
    std::string text(size, 'x');
    for (int sent = 0; sent < count; sent += 50) {
      for (int i = 0; i < 50; ++i) guest->send_udp(kGuestAddress, kSomewhere, 53, text);
      char taken[2048];
      pollfd wait{egress.dns.get(), POLLIN, 0};
      for (int i = 0; i < 50 && ::poll(&wait, 1, kQuietMs) == 1; ++i)
        if (::recv(egress.dns.get(), taken, sizeof taken, 0) > 0) ++arrived;
    }
    return arrived;
  }

  /// Connections of the guest that are refused, of ten.
  int refused_of_ten() {
    int refused = 0;
    for (uint16_t port = 1; port <= 10; ++port) {
      Fd client = guest->socket(SOCK_STREAM);
      int error = guest->connect(client, kSomewhere, port);
      EXPECT_TRUE(error == 0 || error == ECONNREFUSED) << error;
      refused += error == ECONNREFUSED ? 1 : 0;
    }
    return refused;
  }

  Slot slot;
  EgressSockets egress;
  std::optional<GuestStack> guest;
};

TEST_F(SlotLimitsTest, WithoutLimitsAllOfItArrives) {
  limit(kNone);
  EXPECT_EQ(arrived_of(100, 20), 100);
  EXPECT_EQ(arrived_of(2000, 1300), 2000);
  EXPECT_EQ(refused_of_ten(), 0);
}

TEST_F(SlotLimitsTest, WhatIsInstalledIsNotNoticedByFew) {
  EXPECT_EQ(arrived_of(100, 20), 100);
  EXPECT_EQ(refused_of_ten(), 0);
}

TEST_F(SlotLimitsTest, QuestionsBeyondTheRateDoNotReachTheGate) {
  SlotLimits limits = kNone;
  limits.names_per_second = 1;
  limit(limits);
  EXPECT_LT(arrived_of(50, 20), 50);
  EXPECT_EQ(refused_of_ten(), 0) << "nothing else is";
}

TEST_F(SlotLimitsTest, ConnectionsBeyondTheRateAreRefusedAtOnce) {
  SlotLimits limits = kNone;
  limits.connects_per_second = 1;
  limit(limits);
  EXPECT_GT(refused_of_ten(), 0);
  EXPECT_EQ(arrived_of(50, 20), 50) << "nothing else is";
}

TEST_F(SlotLimitsTest, PacketsBeyondTheRateAreDropped) {
  SlotLimits limits = kNone;
  limits.packets_per_second = 1;
  limit(limits);
  EXPECT_LT(arrived_of(50, 20), 50);
}

TEST_F(SlotLimitsTest, BytesBeyondTheRateAreDropped) {
  SlotLimits limits = kNone;
  limits.mib_per_second = 1;
  limit(limits);
  EXPECT_LT(arrived_of(2000, 1300), 2000);
  EXPECT_THAT(inspect_slot(slot).value().firewall,
              testing::Contains("oifname \"tap0\" limit rate over 1 mbytes/second burst 1 mbytes drop"))
      << "and so is what comes back";
}

TEST_F(SlotLimitsTest, EveryRateIsListedAsItWasSet) {
  for (int rate : {1, 5, 40, 1000, 4096, 1'000'000}) {
    SlotLimits limits{std::min(rate, 2048), rate, rate, rate};
    limit(limits);
  }
}

TEST_F(SlotLimitsTest, OtherLimitsThanItsOwnShowInTheInspection) {
  SlotLimits limits;
  limits.names_per_second += 1;
  EXPECT_TRUE(inspect_slot(slot).value().firewall_is_whole);
  EXPECT_FALSE(inspect_slot(slot, limits).value().firewall_is_whole);
}

}  // namespace
}  // namespace hako::network
