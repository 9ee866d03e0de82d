#include "api/data_plane.h"
#include "api/handlers.h"
#include "api/openapi.h"
#include "api/render.h"

namespace hako::api {
namespace json = boost::json;
using http::Response;
using namespace std::chrono_literals;

namespace {

/// Where clients on this machine reach the boxes.
std::string gate_url(const config::Config& config) {
  std::string host = reachable(config.gate_address);
  if (host.find(':') != std::string::npos) host = "[" + host + "]";
  return "http://" + host + ":" + std::to_string(config.gate_port);
}

json::value member_or_null(const json::object& object, std::string_view name) {
  const json::value* found = object.if_contains(json::string_view(name.data(), name.size()));
  return found ? *found : json::value(nullptr);
}

}  // namespace

Task<Result<Response>> health(Service& service, const Call&) {
  json::object answer;
  answer["status"] = "ok";
  answer["node"] = service.node.connected() ? "connected" : "away";
  co_return Response::json(200, answer);
}

Task<Result<Response>> openapi(Service&, const Call&) {
  Response response;
  response.status = 200;
  response.fields.set(http::Field::content_type, "application/json");
  response.body = openapi_document();
  co_return response;
}

Task<Result<Response>> info(Service& service, const Call& call) {
  auto node = co_await service.node.info();
  if (!node) co_return error_for_user(node.error(), "node does not tell about itself");
  json::object answer;
  answer["version"] = HAKO_VERSION;
  answer["envdVersion"] = std::string(kEnvdVersion);
  answer["isolation"] = member_or_null(node.value(), "isolation");
  answer["engine"] = member_or_null(node.value(), "engine");
  answer["accelReason"] = member_or_null(node.value(), "accel_reason");
  // How many there are tells of others' doings.
  if (call.who.is_operator) {
    answer["boxes"] = member_or_null(node.value(), "boxes");
    answer["pooled"] = member_or_null(node.value(), "pooled");
  }
  answer["gateUrl"] = gate_url(service.config);
  // For the others: under a name that its certificate is for.
  if (!service.config.gate_certificate.empty())
    answer["gateHttpsUrl"] = "https://api." + service.config.domain;
  answer["domain"] = service.config.domain;
  answer["defaultTemplate"] = service.config.default_template;
  json::object limits;
  limits["boxes"] = service.config.max_boxes;
  limits["memoryMB"] = service.config.max_memory_mib;
  limits["cpuCount"] = service.config.max_vcpus;
  limits["timeout"] = service.config.max_ttl.count();
  answer["limits"] = std::move(limits);
  co_return Response::json(200, answer);
}

}  // namespace hako::api
