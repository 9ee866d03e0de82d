#include "api/sleepers.h"

#include <algorithm>

#include "api/checkpoints.h"
#include "api/field_reader.h"
#include "api/sandboxes.h"
#include "base/log.h"

namespace hako::api {
namespace json = boost::json;

namespace {

constexpr size_t kLongestBoxName = 256;

json::object sleeper_json(const store::SandboxRecord& record) {
  json::object body;
  body["box"] = record.id;
  if (!record.access_token.empty()) body["access_token"] = record.access_token;
  json::object ingress = ingress_json(record, parse_options(record.options));
  if (!ingress.empty()) body["ingress"] = std::move(ingress);
  return body;
}

}  // namespace

void Sleepers::know(const store::SandboxRecord& record) {
  if (!wakes_on_traffic(record)) return forget(record.id);
  json::object body = sleeper_json(record);
  json::object& known = sleeping_[record.id];
  if (known == body) return;
  known = body;
  tell_all("sleeper.add", body);
}

void Sleepers::forget(const std::string& box) {
  if (sleeping_.erase(box) == 0) return;
  json::object body;
  body["box"] = box;
  tell_all("sleeper.remove", body);
}

void Sleepers::tell_all(const char* message, const json::object& body) {
  std::erase_if(gates_, [](const auto& gate) { return gate.expired(); });
  for (const auto& weak : gates_) {
    auto gate = weak.lock();
    if (!gate) continue;
    rpc::Payload payload;
    payload.body = body;
    // One that takes no more hears all of it when it comes back.
    if (!gate->tell(message, std::move(payload))) gate->close();
  }
}

Task<void> Sleepers::serve(Fd listener, uid_t gate_uid) {
  std::function<Task<void>(Fd, uid_t)> serve_gate = [this](Fd connection, uid_t) {
    return serve_one(std::move(connection));
  };
  std::vector<uid_t> allowed{gate_uid};
  co_await rpc::accept_peers(std::move(listener), std::move(allowed), std::move(serve_gate));
}

Task<void> Sleepers::serve_one(Fd connection) {
  auto executor = co_await asio::this_coro::executor;
  auto gate = std::make_shared<rpc::Peer>(executor, std::move(connection));
  rpc::Handler on_wake = [this](rpc::Payload payload) { return wake(std::move(payload)); };
  gate->on("box.wake", std::move(on_wake));
  for (const auto& [box, body] : sleeping_) {
    rpc::Payload payload;
    payload.body = body;
    if (!gate->tell("sleeper.add", std::move(payload))) co_return;
  }
  gates_.push_back(gate);
  co_await gate->run();
}

Task<Result<rpc::Payload>> Sleepers::wake(rpc::Payload payload) {
  FieldReader reader(payload.body, "box.wake: ");
  std::string box = reader.text("box", kLongestBoxName).value_or("");
  HAKO_CO_TRYV(reader.outcome());
  if (!sleeping_.contains(box)) {
    co_return Error(ErrorCode::not_found, "no sandbox of that name sleeps");
  }
  HAKO_CO_TRYV(co_await wake_(std::move(box)));
  co_return rpc::Payload();
}

}  // namespace hako::api
