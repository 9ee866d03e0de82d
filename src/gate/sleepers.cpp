#include "gate/sleepers.h"

#include "rpc/link.h"
#include "wire/json_text.h"

namespace hako::gate {
namespace {

using namespace std::chrono_literals;

/// Longer than the node may take for it.
constexpr Duration kWakeDeadline = 90s;
constexpr Duration kFailureCounts = 1s;

Result<std::string> named_box(const boost::json::object& body) {
  HAKO_TRY(auto box, wire::string_member(body, "box"));
  if (!box || box->empty()) return Error(ErrorCode::invalid_argument, "box is missing");
  return std::move(*box);
}

}  // namespace

Task<void> Sleepers::run() {
  rpc::Link link;
  link.path = socket_path_;
  link.begin = [this](const std::shared_ptr<rpc::Peer>& peer) { begin(peer); };
  link.end = [this] {
    api_ = nullptr;
    // It tells of all of them when it is back.
    sleeping_.clear();
  };
  co_await rpc::keep_connected(std::move(link), tasks_);
}

void Sleepers::begin(const std::shared_ptr<rpc::Peer>& peer) {
  rpc::Handler on_add = [this](rpc::Payload payload) { return take_add(std::move(payload)); };
  rpc::Handler on_remove = [this](rpc::Payload payload) {
    return take_remove(std::move(payload));
  };
  peer->on("sleeper.add", std::move(on_add));
  peer->on("sleeper.remove", std::move(on_remove));
  api_ = peer;
}

Task<Result<rpc::Payload>> Sleepers::take_add(rpc::Payload payload) {
  HAKO_CO_TRYV(add(payload.body));
  co_return rpc::Payload();
}

Task<Result<rpc::Payload>> Sleepers::take_remove(rpc::Payload payload) {
  HAKO_CO_TRY(auto box, named_box(payload.body));
  sleeping_.erase(box);
  co_return rpc::Payload();
}

Result<void> Sleepers::add(const boost::json::object& body) {
  HAKO_TRY(auto box, named_box(body));
  if (sleeping_.size() >= kMostSleepers && !sleeping_.contains(box)) {
    return Error(ErrorCode::resource_exhausted, "too many boxes sleep");
  }
  auto sleeper = std::make_shared<Machine>();
  sleeper->box = box;
  HAKO_TRY(auto token, wire::string_member(body, "access_token"));
  sleeper->access_token = token.value_or("");
  HAKO_TRY(auto ingress, parse_ingress(body));
  if (ingress) sleeper->ingress = std::move(*ingress);
  sleeping_[box] = std::move(sleeper);
  return ok();
}

MachineRef Sleepers::find(const std::string& box) const {
  auto found = sleeping_.find(box);
  return found == sleeping_.end() ? nullptr : found->second;
}

Task<Result<void>> Sleepers::wake(std::string box) {
  auto now = TokenBucket::Time::clock::now();
  std::erase_if(wakes_, [now](const auto& each) {
    return each.second->outcome && now - each.second->ended > kFailureCounts;
  });
  auto known = wakes_.find(box);
  if (known == wakes_.end()) {
    if (wakes_.size() >= kMostWakes) {
      co_return Error(ErrorCode::resource_exhausted, "too many sandboxes are being resumed");
    }
    known = wakes_.emplace(box, std::make_shared<Waking>()).first;
    tasks_.spawn("wake", ask(box, known->second));
  }
  std::shared_ptr<Waking> waking = known->second;
  if (waking->waiting >= kMostWaiting) {
    co_return Error(ErrorCode::resource_exhausted, "too many requests wait for this sandbox");
  }
  struct Waits {
    explicit Waits(size_t& count) : count_(count) { ++count_; }
    ~Waits() { --count_; }
    size_t& count_;
  } waits(waking->waiting);
  while (!waking->outcome) co_await waking->changed.wait();
  co_return *waking->outcome;
}

Task<void> Sleepers::ask(std::string box, std::shared_ptr<Waking> waking) {
  /// Also where this is cut off.
  struct Told {
    ~Told() {
      if (!waking->outcome) {
        waking->outcome.emplace(Error(ErrorCode::unavailable, "the sandbox was not resumed"));
      }
      waking->ended = TokenBucket::Time::clock::now();
      waking->changed.notify_all();
    }
    std::shared_ptr<Waking> waking;
  } told{waking};
  auto api = api_;
  if (!api) co_return;
  rpc::Payload payload;
  payload.body["box"] = box;
  auto answer = co_await api->call("box.wake", std::move(payload), kWakeDeadline);
  if (!answer) {
    waking->outcome.emplace(answer.error());
    co_return;
  }
  waking->outcome.emplace(ok());
  wakes_.erase(box);
}

}  // namespace hako::gate
