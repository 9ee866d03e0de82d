#include "api/handlers.h"
#include "api/openapi.h"
#include "api/render.h"

namespace hako::api {
namespace json = boost::json;
using http::Response;
using namespace std::chrono_literals;

namespace {

constexpr auto kListDeadline = 10s;
constexpr auto kRemoveDeadline = 60s;
/// Installing packages under emulation takes its time.
constexpr auto kBuildDeadline = 30min;
constexpr size_t kMostBuilds = 2;

Task<Result<json::object>> node_templates(Service& service) {
  json::object nothing;
  auto answer = co_await service.node.call("template.list", std::move(nothing), kListDeadline);
  if (!answer) co_return error_for_user(answer.error(), "templates not listed");
  co_return std::move(answer.value());
}

Error bad_answer(const Error& error) {
  return error_for_user(error, "node's answer not usable");
}

json::object build_message(const TemplateRequest& request) {
  json::object body;
  body["name"] = request.name;
  body["from"] = request.from;
  if (request.memory_mib) body["memory_mib"] = *request.memory_mib;
  if (request.vcpus) body["vcpus"] = *request.vcpus;
  if (request.disk_mib) body["disk_mib"] = *request.disk_mib;
  json::array steps;
  for (const TemplateStep& step : request.steps) {
    json::object entry;
    entry["cmd"] = step.command;
    if (step.user) entry["user"] = *step.user;
    steps.push_back(std::move(entry));
  }
  body["steps"] = std::move(steps);
  return body;
}

/// Where clients on this machine reach the boxes.
std::string gate_url(const config::Config& config) {
  std::string host = config.gate_address;
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

Task<Result<Response>> info(Service& service, const Call&) {
  auto node = co_await service.node.info();
  if (!node) co_return error_for_user(node.error(), "node does not tell about itself");
  json::object answer;
  answer["version"] = HAKO_VERSION;
  answer["envdVersion"] = std::string(kEnvdVersion);
  answer["isolation"] = member_or_null(node.value(), "isolation");
  answer["engine"] = member_or_null(node.value(), "engine");
  answer["accelReason"] = member_or_null(node.value(), "accel_reason");
  answer["boxes"] = member_or_null(node.value(), "boxes");
  answer["pooled"] = member_or_null(node.value(), "pooled");
  answer["gateUrl"] = gate_url(service.config);
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

Task<Result<Response>> list_templates(Service& service, const Call&) {
  HAKO_CO_TRY(auto answer, co_await node_templates(service));
  auto list = templates_json(answer);
  if (!list) co_return bad_answer(list.error());
  co_return Response::json(200, list.value());
}

Task<Result<Response>> list_own_templates(Service& service, const Call&) {
  HAKO_CO_TRY(auto answer, co_await node_templates(service));
  auto list = own_templates_json(answer);
  if (!list) co_return bad_answer(list.error());
  json::object body;
  body["templates"] = std::move(list.value());
  co_return Response::json(200, body);
}

Task<Result<Response>> find_alias(Service& service, const Call& call) {
  HAKO_CO_TRY(auto name, template_name_of(call.parameters[0]));
  HAKO_CO_TRY(auto answer, co_await node_templates(service));
  auto list = own_templates_json(answer);
  if (!list) co_return bad_answer(list.error());
  for (const json::value& each : list.value()) {
    if (each.at("name").as_string() != name) continue;
    json::object body;
    body["templateID"] = name;
    body["public"] = false;
    co_return Response::json(200, body);
  }
  co_return Error(ErrorCode::not_found, "there is no template " + name);
}

Task<Result<Response>> build_template(Service& service, const Call& call) {
  HAKO_CO_TRY(auto request, parse_template(call.body, service.config.default_template));
  if (service.builds >= kMostBuilds) {
    co_return Error(ErrorCode::resource_exhausted, "other templates are being built; try again");
  }
  struct Building {
    explicit Building(size_t& count) : count_(count) { ++count_; }
    ~Building() { --count_; }
    size_t& count_;
  } building(service.builds);
  auto answer =
      co_await service.node.call("template.build", build_message(request), kBuildDeadline);
  if (!answer) co_return error_for_user(answer.error(), "template not built");
  json::object body;
  body["name"] = request.name;
  body["log"] = member_or_null(answer.value(), "log");
  co_return Response::json(201, body);
}

Task<Result<Response>> delete_template(Service& service, const Call& call) {
  HAKO_CO_TRY(auto name, template_name_of(call.parameters[0]));
  json::object body;
  body["name"] = name;
  auto answer = co_await service.node.call("template.remove", std::move(body), kRemoveDeadline);
  if (!answer) co_return error_for_user(answer.error(), "template not removed");
  co_return Response::empty();
}

}  // namespace hako::api
