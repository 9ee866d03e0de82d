// A folder of slots for a test, and what tests of slots do in them.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>

#include "base/random.h"
#include "network/slot.h"

namespace hako::test {

class SlotTest : public testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root";
    directory = "/run/hako-test-" + random_hex(4);
  }
  void TearDown() override {
    if (directory.empty()) return;
    auto numbers = network::list_slots(directory);
    ASSERT_TRUE(numbers);
    for (int number : numbers.value()) EXPECT_TRUE(network::destroy_slot(directory, number));
    auto released = network::release_slots(directory);
    EXPECT_TRUE(released) << (released ? "" : released.error().message());
    EXPECT_FALSE(std::filesystem::exists(directory));
  }

  network::Slot make(int number) {
    auto slot = network::create_slot(directory, number);
    EXPECT_TRUE(slot) << (slot ? "" : slot.error().message());
    return slot ? std::move(slot.value()) : network::Slot{};
  }

  std::string directory;
};

inline sockaddr_in ipv4(const char* text, uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  ::inet_pton(AF_INET, text, &address.sin_addr);
  return address;
}

/// The exit status of a command, which runs in the calling thread's namespace.
inline int shell(const std::string& command) {
  int status = ::system(command.c_str());
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

}  // namespace hako::test
