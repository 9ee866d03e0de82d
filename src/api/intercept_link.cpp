#include "api/intercept_link.h"

#include "api/field_reader.h"

namespace hako::api {
namespace json = boost::json;

namespace {

constexpr size_t kLongestInterceptedBox = 256;
/// A message stays far below the longest frame.
constexpr size_t kMostBoxesTold = 1024;

}  // namespace

void InterceptLink::changed(const std::vector<std::string>& boxes) {
  if (boxes.empty()) return;
  if (boxes.size() > kMostBoxesTold) return all_changed();
  json::object body;
  body["boxes"] = json::array(boxes.begin(), boxes.end());
  tell_all(body);
}

void InterceptLink::all_changed() {
  json::object body;
  body["all"] = true;
  tell_all(body);
}

void InterceptLink::tell_all(const json::object& body) {
  std::erase_if(gates_, [](const auto& gate) { return gate.expired(); });
  for (const auto& weak : gates_) {
    auto gate = weak.lock();
    if (!gate) continue;
    rpc::Payload payload;
    payload.body = body;
    // One that takes no more forgets everything when its connection ends.
    if (!gate->tell("intercept.changed", std::move(payload))) gate->close();
  }
}

Task<void> InterceptLink::serve(Fd listener, uid_t gate_uid) {
  std::function<Task<void>(Fd, uid_t)> serve_gate = [this](Fd connection, uid_t) {
    return serve_one(std::move(connection));
  };
  std::vector<uid_t> allowed{gate_uid};
  co_await rpc::accept_peers(std::move(listener), std::move(allowed), std::move(serve_gate));
}

Task<void> InterceptLink::serve_one(Fd connection) {
  auto executor = co_await asio::this_coro::executor;
  auto gate = std::make_shared<rpc::Peer>(executor, std::move(connection));
  rpc::Handler on_get = [this](rpc::Payload payload) { return get(std::move(payload)); };
  gate->on("intercept.get", std::move(on_get));
  for (const Extend& extend : extensions_) extend(*gate);
  gates_.push_back(gate);
  co_await gate->run();
}

Task<Result<rpc::Payload>> InterceptLink::get(rpc::Payload payload) {
  FieldReader reader(payload.body, "intercept.get: ");
  std::string box = reader.text("box", kLongestInterceptedBox).value_or("");
  HAKO_CO_TRYV(reader.outcome());
  HAKO_CO_TRY(auto material, co_await material_(std::move(box)));
  rpc::Payload answer;
  answer.body = std::move(material);
  co_return answer;
}

}  // namespace hako::api
