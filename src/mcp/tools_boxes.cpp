// Tools about boxes as a whole.
#include <boost/json/array.hpp>

#include "base/encoding.h"
#include "mcp/tool.h"

namespace hako::mcp {
namespace json = boost::json;

namespace {

using Names = std::pair<std::string_view, std::string_view>;

constexpr Names kBoxMembers[] = {
    {"sandboxID", "box"},    {"alias", "template"},   {"state", "state"},
    {"isolation", "isolation"}, {"startedAt", "started_at"}, {"endAt", "ends_at"},
    {"cpuCount", "cpus"},    {"memoryMB", "memory_mib"}, {"label", "label"},
    {"metadata", "metadata"}, {"egress", "egress"},
};

json::object told_box(const json::value& answer) {
  json::object box;
  copy_members(answer, box, kBoxMembers);
  if (!box.contains("template")) {
    std::string id = text_in(answer, "templateID");
    if (!id.empty()) box["template"] = id;
  }
  return box;
}

json::object texts_object(const std::vector<std::pair<std::string, std::string>>& pairs) {
  json::object object;
  for (const auto& [name, value] : pairs) object[name] = value;
  return object;
}

json::array texts_array(const std::vector<std::string>& texts) {
  json::array array;
  for (const std::string& text : texts) array.emplace_back(text);
  return array;
}

/// Where a port's own name leads, and the way by the machine itself.
json::object address_of(const json::value& info, const std::string& domain, const std::string& box,
                        int64_t port) {
  std::string host = std::to_string(port) + "-" + box + "." + domain;
  bool secure = !text_in(info, "gateHttpsUrl").empty();
  std::string gate = text_in(info, "gateUrl");
  std::string url = (secure ? "https://" : "http://") + host;
  // A domain says the port itself where it is not the usual one; without one it is the gate's.
  size_t colon = gate.rfind(':');
  if (!secure && domain.find(':') == std::string::npos && colon > 5 && colon != std::string::npos)
    url += gate.substr(colon);
  json::object address;
  address["url"] = url + "/";
  address["host"] = host;
  if (!gate.empty()) address["gate"] = gate;
  return address;
}

}  // namespace

Task<Result<json::object>> create_box(ToolCall call) {
  const Arguments& asked = call.arguments;
  json::object body;
  std::string template_name = asked.text("template");
  if (template_name.empty()) {
    HAKO_CO_TRY(auto info, co_await call.api.call(http::Verb::get, "/v1/info", std::nullopt,
                                                  kCallTime));
    template_name = text_in(info, "defaultTemplate");
  }
  body["templateID"] = template_name;
  body["timeout"] = *asked.number("ttl_seconds");
  if (auto memory = asked.number("memory_mib")) body["memoryMB"] = *memory;
  if (auto cpus = asked.number("cpus")) body["cpuCount"] = *cpus;
  if (asked.has("env")) body["envVars"] = texts_object(asked.pairs("env"));
  if (asked.has("metadata")) body["metadata"] = texts_object(asked.pairs("metadata"));
  if (asked.has("label")) body["label"] = asked.text("label");
  if (asked.has("egress")) body["egress"] = asked.text("egress");
  if (asked.has("allow")) body["allow"] = texts_array(asked.texts("allow"));
  if (asked.has("deny")) body["deny"] = texts_array(asked.texts("deny"));
  std::optional<json::value> request(std::move(body));
  HAKO_CO_TRY(auto answer, co_await call.api.call(http::Verb::post, "/v2/sandboxes",
                                                  std::move(request), kBoxTime));
  json::object box = told_box(answer);
  box["state"] = "running";
  co_return box;
}

Task<Result<json::object>> list_boxes(ToolCall call) {
  std::string target = "/v2/sandboxes?limit=" + std::to_string(*call.arguments.number("limit"));
  if (call.arguments.has("state"))
    target += "&state=" + percent_encode(call.arguments.text("state"));
  co_return co_await list_page(call, std::move(target), "boxes", told_box);
}

Task<Result<json::object>> box_info(ToolCall call) {
  HAKO_CO_TRY(auto box, box_of(call.arguments));
  HAKO_CO_TRY(auto answer, co_await call.api.call(http::Verb::get, "/sandboxes/" + box,
                                                  std::nullopt, kCallTime));
  co_return told_box(answer);
}

Task<Result<json::object>> kill_box(ToolCall call) {
  HAKO_CO_TRY(auto box, box_of(call.arguments));
  auto gone = co_await call.api.call(http::Verb::delete_, "/sandboxes/" + box, std::nullopt,
                                     kBoxTime);
  if (!gone && gone.error().code() == ErrorCode::not_found)
    co_return done(box, "it was not there");
  if (!gone) co_return gone.error();
  co_return done(box, "destroyed");
}

Task<Result<json::object>> set_box_timeout(ToolCall call) {
  HAKO_CO_TRY(auto box, box_of(call.arguments));
  json::object body;
  body["timeout"] = *call.arguments.number("ttl_seconds");
  std::optional<json::value> request(std::move(body));
  HAKO_CO_TRYV(co_await call.api.call(http::Verb::post, "/sandboxes/" + box + "/timeout",
                                      std::move(request), kCallTime));
  co_return done(box, "it ends " + std::to_string(*call.arguments.number("ttl_seconds")) +
                          " seconds from now");
}

Task<Result<json::object>> expose_port(ToolCall call) {
  HAKO_CO_TRY(auto box, box_of(call.arguments));
  HAKO_CO_TRY(auto detail, co_await call.api.call(http::Verb::get, "/sandboxes/" + box,
                                                  std::nullopt, kCallTime));
  HAKO_CO_TRY(auto info, co_await call.api.call(http::Verb::get, "/v1/info", std::nullopt,
                                                kCallTime));
  json::object address = address_of(info, text_in(detail, "domain"), box,
                                    *call.arguments.number("port"));
  json::object headers;
  const json::object* members = detail.if_object();
  const json::value* network = members ? members->if_contains("network") : nullptr;
  const json::object* rules = network ? network->if_object() : nullptr;
  const json::value* is_open = rules ? rules->if_contains("allowPublicTraffic") : nullptr;
  std::string token = text_in(detail, "envdAccessToken");
  bool closed = is_open && is_open->is_bool() && !is_open->get_bool();
  std::string label = text_in(detail, "label");
  // Ports of whatever is not public are closed, too.
  if (!label.empty() && label != "public") closed = true;
  if (closed && !token.empty())
    headers["e2b-traffic-access-token"] = token;
  address["headers"] = std::move(headers);
  co_return address;
}

}  // namespace hako::mcp
