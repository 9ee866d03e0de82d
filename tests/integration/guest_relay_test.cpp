// The way to services on the loopback address, through the real daemon.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <thread>

#include "http/server.h"
#include "integration/guest_daemon.h"

namespace hako::guest {
namespace {

/// A blocking connection; waits of more than 20 s fail.
Fd connect_to(uint16_t port) {
  Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  timeval limit{20, 0};
  ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  ::setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) < 0) fd.reset();
  return fd;
}

std::string read_all(int fd, bool* broken = nullptr) {
  std::string text;
  std::vector<char> buffer(64 << 10);
  for (;;) {
    ssize_t n = ::read(fd, buffer.data(), buffer.size());
    if (n <= 0) {
      if (broken) *broken = n < 0;
      return text;
    }
    text.append(buffer.data(), static_cast<size_t>(n));
  }
}

class GuestRelay : public GuestDaemonTest {
 protected:
  /// A listening socket on a port of its own.
  struct Service {
    Fd listener = std::move(http::listen_tcp("127.0.0.1", 0).value());
    uint16_t port = http::local_port(listener);
    Fd accept() {
      for (int i = 0; i < 2000; ++i) {
        int fd = ::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC);
        if (fd >= 0) return Fd(fd);
        ::usleep(5000);
      }
      return Fd();
    }
  };
  /// A relayed connection and the first byte of the answer; -1 for none.
  std::pair<Fd, int> ask(uint16_t port) {
    Fd fd = connect_to(relay_port_);
    uint8_t bytes[2] = {static_cast<uint8_t>(port >> 8), static_cast<uint8_t>(port)};
    if (::write(fd.get(), bytes, 2) != 2) return {std::move(fd), -1};
    uint8_t answer = 0;
    if (::read(fd.get(), &answer, 1) != 1) return {std::move(fd), -1};
    return {std::move(fd), answer};
  }
};

TEST_F(GuestRelay, CarriesBytesBothWaysUntilBothEnd) {
  Service service;
  auto [fd, answer] = ask(service.port);
  ASSERT_EQ(answer, 0);
  Fd inside = service.accept();
  ASSERT_TRUE(inside);
  // More than any buffer on the way holds, in both directions at once.
  std::string large(24 << 20, '\0');
  for (size_t i = 0; i < large.size(); ++i) large[i] = static_cast<char>(i * 2654435761u >> 11);
  std::string received_inside, received_outside;
  std::thread write_inside([&] {
    EXPECT_TRUE(write_all(inside.get(), std::string_view(large)));
    ::shutdown(inside.get(), SHUT_WR);
  });
  std::thread read_inside([&] { received_inside = read_all(inside.get()); });
  std::thread write_outside([&, out = fd.get()] {
    EXPECT_TRUE(write_all(out, std::string_view(large)));
    ::shutdown(out, SHUT_WR);
  });
  received_outside = read_all(fd.get());
  for (auto* thread : {&write_inside, &read_inside, &write_outside}) thread->join();
  EXPECT_TRUE(received_inside == large);
  EXPECT_TRUE(received_outside == large);
}

TEST_F(GuestRelay, PassesOnTheEndOfOneDirection) {
  Service service;
  auto [fd, answer] = ask(service.port);
  ASSERT_EQ(answer, 0);
  Fd inside = service.accept();
  ASSERT_TRUE(write_all(fd.get(), std::string_view("question")));
  ::shutdown(fd.get(), SHUT_WR);
  EXPECT_EQ(read_all(inside.get()), "question");
  ASSERT_TRUE(write_all(inside.get(), std::string_view("answer")));
  inside.reset();
  EXPECT_EQ(read_all(fd.get()), "answer");
}

TEST_F(GuestRelay, SaysWhenNobodyListens) {
  uint16_t port = 0;
  {
    Service gone;
    port = gone.port;
  }
  auto [fd, answer] = ask(port);
  EXPECT_EQ(answer, 1);
  EXPECT_EQ(read_all(fd.get()), "");
  EXPECT_EQ(ask(0).second, 1);
}

TEST_F(GuestRelay, BreaksOneSideWithTheOther) {
  Service service;
  auto [fd, answer] = ask(service.port);
  ASSERT_EQ(answer, 0);
  Fd inside = service.accept();
  linger at_once{1, 0};
  ::setsockopt(inside.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  inside.reset();
  bool broken = false;
  read_all(fd.get(), &broken);
  EXPECT_TRUE(broken);
}

TEST_F(GuestRelay, SurvivesThoseWhoAskForNothing) {
  std::vector<Fd> silent;
  for (int i = 0; i < 600; ++i) silent.push_back(connect_to(relay_port_));
  // Beyond the limit there is a reset rather than a place; the daemon goes on.
  bool broken = false;
  Fd beyond = connect_to(relay_port_);
  read_all(beyond.get(), &broken);
  EXPECT_TRUE(broken);
  EXPECT_EQ(request(http::Verb::get, "/health").status, 204u);
  silent.clear();
  Service service;
  int answer = -1;
  for (int i = 0; i < 1000 && answer != 0; ++i) answer = ask(service.port).second;
  EXPECT_EQ(answer, 0);
}

}  // namespace
}  // namespace hako::guest
