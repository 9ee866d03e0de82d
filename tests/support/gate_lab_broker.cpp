#include "support/gate_lab_broker.h"

namespace hako::test {

using namespace std::chrono_literals;

TestBroker::TestBroker(std::string socket_path, uid_t gate)
    : listener_(rpc::listen_unix(socket_path, gate).value()), gate_(gate) {}

Task<void> TestBroker::serve() {
  auto accept_one = [this](Fd connection, uid_t) { return accept(std::move(connection)); };
  std::vector<uid_t> allowed{gate_};
  auto accepting = rpc::accept_peers(std::move(listener_), std::move(allowed), accept_one);
  co_await std::move(accepting);
}

Task<void> TestBroker::accept(Fd connection) {
  auto peer =
      std::make_shared<rpc::Peer>(co_await asio::this_coro::executor, std::move(connection));
  peer->on("intercept.get", [this](rpc::Payload question) { return get(std::move(question)); });
  peer->on("model.reserve", [this](rpc::Payload question) { return reserve(std::move(question)); });
  peer->on("model.settle", [this](rpc::Payload question) { return settle(std::move(question)); });
  peer_ = peer;
  co_await peer->run();
  if (peer_ == peer) peer_ = nullptr;
}

Task<void> TestBroker::wait_for_gate() {
  while (!peer_) co_await sleep_for(1ms);
}

void TestBroker::disconnect() {
  if (auto peer = std::exchange(peer_, nullptr)) peer->close();
}

void TestBroker::changed(const std::string& box) {
  rpc::Payload told;
  told.body["boxes"] = boost::json::array{boost::json::value(box)};
  if (peer_) (void)peer_->tell("intercept.changed", std::move(told));
}

TestBroker::Answer TestBroker::get(rpc::Payload question) {
  ++asked;
  auto found = boxes.find(std::string(question.body.at("box").as_string()));
  if (found == boxes.end()) co_return Error(ErrorCode::not_found, "no such box");
  rpc::Payload answer;
  answer.body = found->second;
  co_return answer;
}

TestBroker::Answer TestBroker::reserve(rpc::Payload question) {
  reserved.push_back(std::move(question.body));
  if (refusal) co_return *refusal;
  rpc::Payload answer;
  answer.body["reservation"] = "r" + std::to_string(reserved.size());
  co_return answer;
}

TestBroker::Answer TestBroker::settle(rpc::Payload question) {
  settled.push_back(std::move(question.body));
  co_return rpc::Payload();
}

}  // namespace hako::test
