#include "api/sleepers.h"

#include "api/checkpoints.h"
#include "api/field_reader.h"
#include "api/sandboxes.h"

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
  // One that takes no more hears all of it when it comes back.
  gates_.tell_all("sleeper.add", body);
}

void Sleepers::forget(const std::string& box) {
  if (sleeping_.erase(box) == 0) return;
  json::object body;
  body["box"] = box;
  gates_.tell_all("sleeper.remove", body);
}

Task<void> Sleepers::serve(Fd listener, uid_t gate_uid) {
  rpc::Peers::Begin begin = [this](rpc::Peer& gate) { return welcome(gate); };
  co_await gates_.serve(std::move(listener), gate_uid, std::move(begin));
}

bool Sleepers::welcome(rpc::Peer& gate) {
  gate.on("box.wake", [this](rpc::Payload payload) { return wake(std::move(payload)); });
  for (const auto& [box, body] : sleeping_) {
    rpc::Payload payload;
    payload.body = body;
    if (!gate.tell("sleeper.add", std::move(payload))) return false;
  }
  return true;
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
