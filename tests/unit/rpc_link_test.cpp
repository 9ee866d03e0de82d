#include "rpc/link.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "support/run_task.h"

namespace hako::rpc {
namespace {

using namespace std::chrono_literals;

Task<void> wait_until(std::function<bool()> holds) {
  for (int tries = 0; tries < 500 && !holds(); ++tries) co_await sleep_for(10ms);
  EXPECT_TRUE(holds());
}

/// One end of a link, and what has happened to it.
struct KeptEnd {
  KeptEnd(asio::any_io_executor executor, const std::string& path) : brought(executor) {
    link.path = path;
    link.begin = [this](const std::shared_ptr<Peer>& connected) {
      connected->on("count", [this](Payload payload) { return take(std::move(payload)); });
      peer = connected;
      ++begun;
    };
    link.end = [this] {
      peer = nullptr;
      ++ended;
    };
    link.unreachable = [this](const Error&) { ++unreachable; };
  }

  Task<Result<Payload>> take(Payload payload) {
    last_told = payload.body["number"].to_number<int64_t>();
    co_return Payload();
  }

  Link link;
  TaskGroup brought;
  std::shared_ptr<Peer> peer;
  int begun = 0, ended = 0, unreachable = 0;
  int64_t last_told = 0;
};

class RpcLinkTest : public testing::Test {
 protected:
  RpcLinkTest() {
    char name[] = "/tmp/hako-link-XXXXXX";
    EXPECT_NE(::mkdtemp(name), nullptr);
    directory = name;
    path = directory + "/socket";
  }
  ~RpcLinkTest() override { std::filesystem::remove_all(directory); }

  /// Listens, and greets everybody who connects with its number.
  void listen(TaskGroup& group, Peers& peers) {
    auto listener = listen_unix(path, ::getegid());
    ASSERT_TRUE(listener);
    Peers::Begin greet = [this](Peer& peer) {
      boost::json::object body;
      body["number"] = ++greeted;
      return !refusing && peer.tell("count", Payload{std::move(body), {}});
    };
    group.spawn("serve", peers.serve(std::move(listener).value(), ::geteuid(), std::move(greet)));
  }

  asio::io_context io;
  std::string directory, path;
  int greeted = 0;
  bool refusing = false;
};

TEST_F(RpcLinkTest, ConnectsAgainWhenTheOtherEndIsBackAndSaysOnceThatItIsNot) {
  KeptEnd end(io.get_executor(), path);
  auto body = [&]() -> Task<void> {
    TaskGroup keeping(io.get_executor());
    keeping.spawn("link", keep_connected(end.link, end.brought));
    co_await sleep_for(200ms);
    EXPECT_EQ(end.unreachable, 1);
    for (int round = 1; round <= 3; ++round) {
      TaskGroup serving(io.get_executor());
      Peers peers;
      listen(serving, peers);
      co_await wait_until([&] { return end.last_told == round; });
      EXPECT_EQ(end.begun, round);
      EXPECT_TRUE(end.peer);
      co_await serving.stop();
      co_await wait_until([&] { return end.ended == round; });
      EXPECT_FALSE(end.peer);
      co_await wait_until([&] { return end.unreachable == round + 1; });
    }
    co_await keeping.stop();
  };
  test::run_on(io, body());
  EXPECT_EQ(end.begun, 3);
}

TEST_F(RpcLinkTest, ItsEndIsTheEndOfWhatItBrought) {
  KeptEnd end(io.get_executor(), path);
  bool cut = false;
  auto last = [&]() -> Task<void> {
    struct AtEnd {
      ~AtEnd() { cut = true; }
      bool& cut;
    } at_end{cut};
    co_await sleep_for(1h);
  };
  auto body = [&]() -> Task<void> {
    TaskGroup serving(io.get_executor()), keeping(io.get_executor());
    Peers peers;
    listen(serving, peers);
    keeping.spawn("link", keep_connected(end.link, end.brought));
    co_await wait_until([&] { return end.begun == 1; });
    end.brought.spawn("lasts", last());
    // While a connection is served as well as between two of them.
    co_await keeping.stop();
    EXPECT_TRUE(cut);
    EXPECT_EQ(end.ended, 1);
    co_await serving.stop();
  };
  test::run_on(io, body());
}

TEST_F(RpcLinkTest, AllWhoAreConnectedAreToldAndNobodyWhoWasLetGo) {
  KeptEnd first(io.get_executor(), path), second(io.get_executor(), path);
  auto body = [&]() -> Task<void> {
    TaskGroup serving(io.get_executor()), keeping(io.get_executor());
    Peers peers;
    listen(serving, peers);
    keeping.spawn("first", keep_connected(first.link, first.brought));
    keeping.spawn("second", keep_connected(second.link, second.brought));
    co_await wait_until([&] { return first.last_told > 0 && second.last_told > 0; });
    EXPECT_EQ(first.last_told + second.last_told, 3);
    boost::json::object told;
    told["number"] = 100;
    peers.tell_all("count", told);
    co_await wait_until([&] { return first.last_told == 100 && second.last_told == 100; });
    refusing = true;
    second.peer->close();
    co_await wait_until([&] { return second.ended >= 2; });
    told["number"] = 200;
    peers.tell_all("count", told);
    co_await wait_until([&] { return first.last_told == 200; });
    EXPECT_EQ(second.last_told, 100);
    co_await keeping.stop();
    co_await serving.stop();
  };
  test::run_on(io, body());
}

}  // namespace
}  // namespace hako::rpc
