#include "gate/broker_link.h"

#include <algorithm>

#include "base/log.h"
#include "rpc/link.h"
#include "wire/json_text.h"

namespace hako::gate {
namespace {

using namespace std::chrono_literals;

constexpr Duration kGetDeadline = 10s;
constexpr Duration kReserveDeadline = 20s;
constexpr Duration kSettleDeadline = 30s;
constexpr Duration kSettlePause = 2s;

Task<Result<void>> wait_for(Condition& condition) {
  co_await condition.wait();
  co_return ok();
}

/// Whether another try might come to something else.
bool may_pass(ErrorCode code) {
  return code == ErrorCode::unavailable || code == ErrorCode::timed_out ||
         code == ErrorCode::resource_exhausted || code == ErrorCode::internal;
}

}  // namespace

Task<void> BrokerLink::run() {
  rpc::Link link;
  link.path = socket_path_;
  link.begin = [this](const std::shared_ptr<rpc::Peer>& peer) { begin(peer); };
  link.end = [this] {
    api_ = nullptr;
    // What changes meanwhile nobody tells us.
    forget_all();
    log_info("broker_disconnected");
  };
  co_await rpc::keep_connected(std::move(link), tasks_);
}

void BrokerLink::begin(const std::shared_ptr<rpc::Peer>& peer) {
  rpc::Handler on_changed = [this](rpc::Payload told) { return take_change(std::move(told)); };
  peer->on("intercept.changed", std::move(on_changed));
  api_ = peer;
  connected_.notify_all();
  log_info("broker_connected");
  for (const auto& [reservation, body] : unsettled_)
    tasks_.spawn("settle", send_settlement(reservation));
}

Task<std::shared_ptr<rpc::Peer>> BrokerLink::api() {
  if (!api_) {
    auto waiting = wait_for(connected_);
    (void)co_await with_deadline(kApiPatience, std::move(waiting));
  }
  co_return api_;
}

Task<Result<BoxSecretsRef>> BrokerLink::secrets(std::string box) {
  auto known = boxes_.find(box);
  if (known == boxes_.end()) {
    if (boxes_.size() >= kMostBoxes)
      co_return Error(ErrorCode::resource_exhausted, "too many boxes have secrets");
    known = boxes_.emplace(box, std::make_shared<Fetch>()).first;
    tasks_.spawn("secrets of a box", fetch(box, known->second));
  }
  FetchRef fetch = known->second;
  while (!fetch->outcome) co_await fetch->done.wait();
  co_return *fetch->outcome;
}

Task<void> BrokerLink::fetch(std::string box, FetchRef into) {
  /// Also where this is cut off.
  struct Told {
    ~Told() {
      if (!into->outcome)
        into->outcome.emplace(Error(ErrorCode::unavailable, "the secrets could not be asked for"));
      // A failure is nobody's but theirs who have waited for it.
      auto kept = boxes.find(box);
      if (!*into->outcome && kept != boxes.end() && kept->second == into) boxes.erase(kept);
      into->done.notify_all();
    }
    std::map<std::string, FetchRef>& boxes;
    const std::string& box;
    FetchRef into;
  } told{boxes_, box, into};
  auto outcome = co_await get(box);
  auto kept = boxes_.find(box);
  if (outcome && kept != boxes_.end() && kept->second == into)
    for (const auto& placeholder : outcome.value()->placeholders.all())
      owners_[placeholder.text] = box;
  into->outcome.emplace(std::move(outcome));
}

Task<Result<BoxSecretsRef>> BrokerLink::get(std::string box) {
  auto peer = co_await api();
  if (!peer) co_return Error(ErrorCode::unavailable, "the api is not connected");
  rpc::Payload payload;
  payload.body["box"] = box;
  auto call = peer->call("intercept.get", std::move(payload), kGetDeadline);
  HAKO_CO_TRY(auto answer, co_await std::move(call));
  auto secrets = parse_box_secrets(answer.body);
  if (!secrets)
    log_error("secrets_malformed", {{"box", box}, {"error", secrets.error().message()}});
  // It may have gone just now, and what it said might have changed since.
  if (api_ != peer) co_return Error(ErrorCode::unavailable, "the api has gone");
  co_return secrets;
}

BoxSecretsRef BrokerLink::kept(const std::string& box) const {
  auto found = boxes_.find(box);
  if (found == boxes_.end() || !found->second->outcome || !*found->second->outcome) return nullptr;
  return found->second->outcome->value();
}

bool BrokerLink::is_of_another(const std::string& box, std::string_view placeholder) const {
  auto owner = owners_.find(placeholder);
  if (owner == owners_.end() || owner->second == box) return false;
  // A copy of a box has the placeholders of both.
  auto own = kept(box);
  return !own || std::ranges::none_of(own->placeholders.all(), [&](const auto& each) {
    return each.text == placeholder;
  });
}

void BrokerLink::forget(const std::string& box) {
  if (auto secrets = kept(box))
    for (const auto& placeholder : secrets->placeholders.all()) owners_.erase(placeholder.text);
  boxes_.erase(box);
}

void BrokerLink::forget_all() {
  boxes_.clear();
  owners_.clear();
}

Task<Result<rpc::Payload>> BrokerLink::take_change(rpc::Payload told) {
  // Whoever waits for an answer that is under way gets it; nobody after them does.
  HAKO_CO_TRY(auto all, wire::bool_member(told.body, "all"));
  if (all.value_or(false)) {
    forget_all();
    if (changed_) changed_({});
    co_return rpc::Payload();
  }
  auto* list = wire::find_member(told.body, "boxes");
  if (!list || !list->is_array())
    co_return Error(ErrorCode::invalid_argument, "boxes is missing");
  for (const auto& each : list->get_array()) {
    if (!each.is_string()) continue;
    std::string box(each.get_string());
    forget(box);
    if (changed_ && !box.empty()) changed_(box);
  }
  co_return rpc::Payload();
}

Task<Result<std::string>> BrokerLink::reserve(boost::json::object call) {
  /// A client that has gone before its call began costs nothing, whenever the api answers.
  struct Taken {
    ~Taken() {
      asking->wanted = false;
      if (asking->outcome && *asking->outcome && !done) link.give_back(asking->outcome->value());
    }
    BrokerLink& link;
    std::shared_ptr<Asking> asking = std::make_shared<Asking>();
    bool done = false;
  } taken{*this};
  tasks_.spawn("reserve", ask(std::move(call), taken.asking));
  while (!taken.asking->outcome) co_await taken.asking->answered.wait();
  taken.done = true;
  co_return *taken.asking->outcome;
}

Task<void> BrokerLink::ask(boost::json::object call, std::shared_ptr<Asking> asking) {
  /// Also where this is cut off.
  struct Told {
    ~Told() {
      if (!asking->outcome)
        asking->outcome.emplace(Error(ErrorCode::unavailable, "the broker of model calls has gone"));
      asking->answered.notify_all();
    }
    std::shared_ptr<Asking> asking;
  } told{asking};
  auto reservation = co_await ask_for_reservation(std::move(call));
  if (reservation && !asking->wanted)
    give_back(reservation.value());
  else
    asking->outcome.emplace(std::move(reservation));
}

void BrokerLink::give_back(const std::string& reservation) {
  boost::json::object settlement;
  settlement["reservation"] = reservation;
  settlement["outcome"] = "failed";
  for (const char* count :
       {"requests", "input_tokens", "output_tokens", "cached_tokens", "cache_write_tokens",
        "cache_write_1h_tokens"})
    settlement[count] = 0;
  settle(std::move(settlement));
}

Task<Result<std::string>> BrokerLink::ask_for_reservation(boost::json::object call) {
  // Not waited for: whoever calls has a client that waits.
  auto peer = api_;
  if (!peer) co_return Error(ErrorCode::unavailable, "the broker of model calls is not connected");
  rpc::Payload payload;
  payload.body = std::move(call);
  auto asking = peer->call("model.reserve", std::move(payload), kReserveDeadline);
  HAKO_CO_TRY(auto answer, co_await std::move(asking));
  HAKO_CO_TRY(auto reservation, wire::string_member(answer.body, "reservation"));
  if (!reservation || reservation->empty())
    co_return Error(ErrorCode::internal, "the broker of model calls has not answered the question");
  co_return std::move(*reservation);
}

void BrokerLink::settle(boost::json::object settlement) {
  std::string reservation(settlement.at("reservation").as_string());
  if (unsettled_.size() >= kMostUnsettled) {
    // The api settles what it hears nothing of by itself, at what was reserved.
    log_warn("settlement_dropped", {{"reservation", reservation}});
    return;
  }
  unsettled_[reservation] = std::move(settlement);
  if (api_) tasks_.spawn("settle", send_settlement(reservation));
}

Task<void> BrokerLink::send_settlement(std::string reservation) {
  auto peer = api_;
  // Over the connection of another time others take care of it.
  while (peer && api_ == peer) {
    auto found = unsettled_.find(reservation);
    if (found == unsettled_.end()) co_return;
    rpc::Payload payload;
    payload.body = found->second;
    auto asking = peer->call("model.settle", std::move(payload), kSettleDeadline);
    auto answer = co_await std::move(asking);
    if (answer || !may_pass(answer.error().code())) {
      if (!answer)
        log_error("settlement_refused",
                  {{"reservation", reservation}, {"error", answer.error().message()}});
      unsettled_.erase(reservation);
      co_return;
    }
    co_await sleep_for(kSettlePause);
  }
}

}  // namespace hako::gate
