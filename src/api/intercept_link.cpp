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
  // One that takes no more forgets everything when its connection ends.
  gates_.tell_all("intercept.changed", body);
}

void InterceptLink::all_changed() {
  json::object body;
  body["all"] = true;
  gates_.tell_all("intercept.changed", body);
}

Task<void> InterceptLink::serve(Fd listener, uid_t gate_uid) {
  rpc::Peers::Begin begin = [this](rpc::Peer& gate) {
    gate.on("intercept.get", [this](rpc::Payload payload) { return get(std::move(payload)); });
    for (const Extend& extend : extensions_) extend(gate);
    return true;
  };
  co_await gates_.serve(std::move(listener), gate_uid, std::move(begin));
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
