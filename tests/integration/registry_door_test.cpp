// The way out of a pull, as a SOCKS5 client sees it.
#include <gtest/gtest.h>
#include <netdb.h>

#include "api/either.h"
#include "api/registry_door.h"
#include "http/server.h"
#include "support/run_task.h"

namespace hako::api {
namespace {

using namespace std::chrono_literals;
using namespace std::string_literals;

const std::string kGreeting = "\x05\x01\x00"s;

std::string port_bytes(uint16_t port) {
  return {char(port >> 8), char(port & 0xff)};
}

std::string ask_name(const std::string& name, uint16_t port) {
  return "\x05\x01\x00\x03"s + char(name.size()) + name + port_bytes(port);
}

Task<void> send(http::Stream& stream, std::string bytes) {
  co_await asio::async_write(stream, asio::buffer(bytes), asio::use_awaitable);
}

/// What comes until `count` bytes are there or the connection ends.
Task<std::string> receive(http::Stream& stream, size_t count) {
  std::string got(count, 0);
  boost::system::error_code error;
  size_t n = co_await asio::async_read(stream, asio::buffer(got),
                                       asio::redirect_error(asio::use_awaitable, error));
  co_return got.substr(0, n);
}

/// A registry that says "hello" and sends back what it gets.
Task<void> echo(Fd listener) {
  auto executor = co_await asio::this_coro::executor;
  asio::ip::tcp::acceptor acceptor(executor, asio::ip::tcp::v4(), listener.release());
  for (;;) {
    auto socket = co_await acceptor.async_accept(asio::use_awaitable);
    std::string bytes = "hello";
    co_await asio::async_write(socket, asio::buffer(bytes), asio::use_awaitable);
    bytes.resize(4);
    co_await asio::async_read(socket, asio::buffer(bytes), asio::use_awaitable);
    co_await asio::async_write(socket, asio::buffer(bytes), asio::use_awaitable);
  }
}

class DoorTest : public testing::Test {
 protected:
  DoorTest() {
    registry_ = std::move(http::listen_tcp("127.0.0.1", 0)).value();
    port_ = http::local_port(registry_);
    lists_.insecure = {"localhost:" + std::to_string(port_)};
    lists_.hosts = {"nowhere.invalid", "127.0.0.1:1"};
  }

  /// Runs `test` beside the door and the registry; the door's listeners are on this machine.
  void run(Task<void> test) {
    std::vector<Fd> listeners;
    for (size_t i = 0; i < door().endpoints().size(); ++i) {
      listeners.push_back(std::move(http::listen_tcp("127.0.0.1", 0)).value());
      ports_.push_back(http::local_port(listeners.back()));
    }
    auto all = [&]() -> Task<void> {
      auto serving = door().serve(std::move(listeners));
      auto echoing = echo(std::move(registry_));
      auto helping = until_either_ends(std::move(serving), std::move(echoing));
      co_await until_either_ends(std::move(test), std::move(helping));
    };
    asio::io_context loop;
    test::run_on(loop, all());
  }

  RegistryDoor& door() {
    if (!door_) door_.emplace(lists_);
    return *door_;
  }

  Task<Result<http::Stream>> connect(size_t number) {
    return http::connect_tcp("127.0.0.1", ports_[number], 5s);
  }

  /// The door's reply to one request: its second byte, or -1 where the connection just ended.
  Task<int> reply_to(std::string request) {
    auto stream = co_await connect(0);
    if (!stream) co_return -2;
    co_await send(stream.value(), kGreeting + request);
    std::string method = co_await receive(stream.value(), 2);
    if (method != "\x05\x00"s) co_return -3;
    std::string reply = co_await receive(stream.value(), 10);
    co_return reply.size() == 10 ? reply[1] : -1;
  }

  policy::RegistryLists lists_;
  std::optional<RegistryDoor> door_;
  Fd registry_;
  uint16_t port_ = 0;
  std::vector<uint16_t> ports_;
};

TEST_F(DoorTest, ListedNamesAreConnected) {
  addrinfo* found = nullptr;
  if (::getaddrinfo("localhost", nullptr, nullptr, &found) != 0)
    GTEST_SKIP() << "this machine knows no localhost: it has no /etc/hosts";
  ::freeaddrinfo(found);
  auto test = [&]() -> Task<void> {
    auto stream = co_await connect(0);
    CO_ASSERT_TRUE(stream);
    co_await send(stream.value(), kGreeting + ask_name("localhost", port_) + "ping");
    std::string got = co_await receive(stream.value(), 2 + 10 + 5 + 4);
    EXPECT_EQ(got, "\x05\x00"s + "\x05\x00\x00\x01"s + std::string(6, 0) + "helloping");
    EXPECT_FALSE(door().trouble());
  };
  run(test());
}

TEST_F(DoorTest, RegistriesOnLoopbackHaveListenersOfTheirOwn) {
  ASSERT_EQ(door().endpoints().size(), 3u);
  EXPECT_EQ(door().endpoints()[1], (policy::LoopbackEndpoint{"127.0.0.1", port_}));
  auto test = [&]() -> Task<void> {
    auto stream = co_await connect(1);
    CO_ASSERT_TRUE(stream);
    co_await send(stream.value(), "ping");
    std::string got = co_await receive(stream.value(), 9);
    EXPECT_EQ(got, "helloping");
    // The one at port 1 is listed, but not there.
    auto absent = co_await connect(2);
    CO_ASSERT_TRUE(absent);
    std::string nothing = co_await receive(absent.value(), 1);
    EXPECT_EQ(nothing, "");
    CO_ASSERT_TRUE(door().trouble());
    EXPECT_EQ(door().trouble()->message(), "127.0.0.1:1 does not answer");
  };
  run(test());
}

TEST_F(DoorTest, AllElseIsNot) {
  auto test = [&]() -> Task<void> {
    std::string address = "\x05\x01\x00\x01\x7f\x00\x00\x01"s + port_bytes(port_);
    std::string metadata = "\x05\x01\x00\x01\xa9\xfe\xa9\xfe"s + port_bytes(80);
    std::string six = "\x05\x01\x00\x04"s + std::string(15, 0) + "\x01" + port_bytes(port_);
    // Of a registry that is listed by its name, the address is not.
    for (const std::string& each :
         {address, metadata, six, ask_name("localhost", uint16_t(port_ + 1)),
          ask_name("evil.example", 443), ask_name("", 443), ask_name("localhost\0.x"s, port_)}) {
      int reply = co_await reply_to(each);
      EXPECT_EQ(reply, 2);
    }
    CO_ASSERT_TRUE(door().trouble());
    EXPECT_EQ(door().trouble()->code(), ErrorCode::permission_denied);
    // What is listed and does not come about is told less loudly.
    int reply = co_await reply_to(ask_name("nowhere.invalid", 443));
    EXPECT_EQ(reply, 4);
    EXPECT_EQ(door().trouble()->code(), ErrorCode::permission_denied);
  };
  run(test());
}

TEST_F(DoorTest, WhatIsNotSocksIsCut) {
  auto test = [&]() -> Task<void> {
    for (const std::string& each : {"\x05\x02\x00\x01"s + std::string(6, 0),
                                    "\x04\x01\x00\x01"s + std::string(6, 0)}) {
      int reply = co_await reply_to(each);
      EXPECT_EQ(reply, -1);
    }
    int reply = co_await reply_to("\x05\x01\x00\x09"s);
    EXPECT_EQ(reply, 7);
    auto stream = co_await connect(0);
    CO_ASSERT_TRUE(stream);
    co_await send(stream.value(), "GET / HTTP/1.1\r\n\r\n");
    std::string nothing = co_await receive(stream.value(), 1);
    EXPECT_EQ(nothing, "");
  };
  run(test());
}

}  // namespace
}  // namespace hako::api
