// What the node tells a gate, and hears from it, over a real connection.
#include "node/gate_link.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "support/run_task.h"

namespace hako::node {
namespace {

using namespace std::chrono_literals;

ino_t inode_of(const Fd& fd) {
  struct stat info {};
  EXPECT_EQ(::fstat(fd.get(), &info), 0);
  return info.st_ino;
}

Fd some_socket() {
  return Fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
}

/// A gate that notes its orders and answers as it is told to.
class NotingGate {
 public:
  NotingGate(asio::any_io_executor executor, Fd connection)
      : peer_(executor, std::move(connection)) {
    for (const char* method :
         {"machine.add", "machine.publish", "machine.egress", "machine.freeze", "machine.thaw"})
      peer_.on(method, [this, method = std::string(method)](rpc::Payload order) {
        return note(method, std::move(order));
      });
  }
  rpc::Peer& peer() { return peer_; }

  std::vector<std::pair<std::string, rpc::Payload>> orders;
  std::optional<Error> refusal;

 private:
  Task<Result<rpc::Payload>> note(std::string method, rpc::Payload order) {
    orders.emplace_back(std::move(method), std::move(order));
    if (refusal) co_return *refusal;
    co_return rpc::Payload();
  }

  rpc::Peer peer_;
};

class GateLinkTest : public testing::Test {
 protected:
  template <class Body>
  void run(Body body) {
    auto work = [&]() -> Task<void> {
      TaskGroup tasks(loop.get_executor());
      auto ends = socket_pair(SOCK_STREAM);
      CO_ASSERT_TRUE(ends);
      gate = std::make_unique<NotingGate>(loop.get_executor(), std::move(ends.value().first));
      tasks.spawn("gate", gate->peer().run());
      tasks.spawn("node", link.serve(std::move(ends.value().second)));
      while (!link.connected()) co_await sleep_for(1ms);
      co_await body();
      co_await tasks.stop();
    };
    test::run_on(loop, work());
  }

  asio::io_context loop;
  std::vector<BoxRecords> heard;
  std::vector<RecordKind> kinds;
  std::unique_ptr<NotingGate> gate;
  GateLink link{[](const std::string&, int) { return std::vector<Fd>(); },
                [this](RecordKind kind, BoxRecords records) {
                  kinds.push_back(kind);
                  heard.push_back(std::move(records));
                },
                []() -> Task<void> { co_return; }};
};

TEST_F(GateLinkTest, TheSocketsOfEgressComeFirst) {
  run([this]() -> Task<void> {
    network::EgressSockets egress;
    egress.listener = some_socket();
    egress.dns = some_socket();
    std::vector<Fd> sockets;
    sockets.push_back(some_socket());
    std::vector<ino_t> sent = {inode_of(egress.listener), inode_of(egress.dns),
                               inode_of(sockets[0])};
    auto added = co_await link.add("m1", std::move(egress), std::move(sockets));
    CO_ASSERT_TRUE(added);
    CO_ASSERT_TRUE(gate->orders.size() == 1);
    const auto& order = gate->orders[0].second;
    EXPECT_EQ(order.body.at("egress"), true);
    EXPECT_EQ(order.body.at("sockets"), 1);
    std::vector<ino_t> received;
    for (const Fd& fd : order.fds) received.push_back(inode_of(fd));
    EXPECT_EQ(received, sent);
  });
}

TEST_F(GateLinkTest, FreezesAndThaws) {
  run([this]() -> Task<void> {
    CO_ASSERT_TRUE(co_await link.freeze("m1"));
    CO_ASSERT_TRUE(co_await link.thaw("m1"));
    CO_ASSERT_TRUE(gate->orders.size() == 2);
    EXPECT_EQ(gate->orders[0].first, "machine.freeze");
    EXPECT_EQ(gate->orders[1].first, "machine.thaw");
    for (const auto& [method, order] : gate->orders) {
      EXPECT_EQ(order.body.at("machine"), "m1");
      EXPECT_GT(order.body.at("deadline_ms").as_int64(), 0);
    }
    gate->refusal = Error(ErrorCode::failed_precondition, "cannot be frozen: program 7 (x)");
    auto refused = co_await link.freeze("m1");
    CO_ASSERT_TRUE(!refused);
    EXPECT_EQ(refused.error().code(), ErrorCode::failed_precondition);
  });
}

TEST_F(GateLinkTest, WhatABoxMayReachIsHandedOnUnread) {
  run([this]() -> Task<void> {
    boost::json::object ingress, egress = {{"anything", 7}}, nothing;
    CO_ASSERT_TRUE(co_await link.publish("m1", "i1", "", ingress, egress));
    CO_ASSERT_TRUE(co_await link.publish("m2", "i2", "", ingress, nothing));
    CO_ASSERT_TRUE(co_await link.set_egress("m1", nothing));
    CO_ASSERT_TRUE(gate->orders.size() == 3);
    EXPECT_EQ(gate->orders[0].second.body.at("egress"), egress);
    EXPECT_FALSE(gate->orders[1].second.body.contains("egress"));
    EXPECT_EQ(gate->orders[2].second.body.at("egress"), nothing);
  });
}

TEST_F(GateLinkTest, AChangeFailsUnlessNothingOfTheOldCanGoOn) {
  run([this]() -> Task<void> {
    boost::json::object egress = {{"anything", 7}};
    // It knows no such machine, so it lets nothing of it pass.
    gate->refusal = Error(ErrorCode::not_found, "no machine m1");
    EXPECT_TRUE(co_await link.set_egress("m1", egress));
    gate->refusal = Error(ErrorCode::invalid_argument, "layers");
    auto refused = co_await link.set_egress("m1", egress);
    EXPECT_EQ(refused.error().code(), ErrorCode::invalid_argument);
    gate->peer().close();
    while (link.connected()) co_await sleep_for(1ms);
    // At once: it must not come behind a later one.
    auto began = std::chrono::steady_clock::now();
    auto away = co_await link.set_egress("m1", egress);
    EXPECT_EQ(away.error().code(), ErrorCode::unavailable);
    EXPECT_LT(std::chrono::steady_clock::now() - began, 1s);
  });
}

TEST_F(GateLinkTest, WrongRecordsAreDroppedAndTheConnectionGoesOn) {
  run([this]() -> Task<void> {
    for (int time : {1, -1, 2}) {
      rpc::Payload told;
      told.body = {{"machine", "m1"}, {"box", "i1"}};
      boost::json::object record = {{"time_ms", time}, {"verdict", "denied"}};
      told.body["records"] = boost::json::array{record};
      CO_ASSERT_TRUE(gate->peer().tell("egress.records", std::move(told)));
    }
    for (int i = 0; i < 2000 && heard.size() < 2; ++i) co_await sleep_for(1ms);
    CO_ASSERT_TRUE(heard.size() == 2);
    EXPECT_EQ(heard[0].records[0].at("time_ms"), 1);
    EXPECT_EQ(heard[1].records[0].at("time_ms"), 2);
    EXPECT_TRUE(link.connected());
  });
}

TEST_F(GateLinkTest, WhatWasDoneInABoxIsToldApartFromWhatLeftIt) {
  run([this]() -> Task<void> {
    for (const char* method : {"access.records", "egress.records"}) {
      rpc::Payload told;
      told.body = {{"machine", "m1"}, {"box", "i1"}};
      boost::json::object record = {{"time_ms", 1}, {"verdict", "denied"}};
      told.body["records"] = boost::json::array{record};
      CO_ASSERT_TRUE(gate->peer().tell(method, std::move(told)));
    }
    for (int i = 0; i < 2000 && heard.size() < 2; ++i) co_await sleep_for(1ms);
    CO_ASSERT_TRUE(heard.size() == 2);
    EXPECT_EQ(kinds, (std::vector{RecordKind::access, RecordKind::egress}));
    EXPECT_TRUE(heard[0].records[0].as_object().contains("what"));
    EXPECT_TRUE(heard[1].records[0].as_object().contains("bytes_out"));
  });
}

}  // namespace
}  // namespace hako::node
