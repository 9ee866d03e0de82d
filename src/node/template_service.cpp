#include "node/template_service.h"

#include <algorithm>

#include "node/json_fields.h"

namespace hako::node {
namespace {

constexpr size_t kMostLayerKeys = 512;
constexpr size_t kLongestCommand = 64 << 10;
constexpr size_t kMostEnvironment = 256 << 10;

/// Names become names of files: no more than these characters.
bool is_template_name(const std::string& name) {
  if (name.empty() || name.size() > 64 || name.front() == '-') return false;
  return std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
  });
}

/// Builds are reached through the gate as boxes are.
bool is_build_id(const std::string& id) {
  return is_template_name(id) && id.find_first_of("-_") == std::string::npos;
}

rpc::Payload answer_with(boost::json::object body) {
  rpc::Payload answer;
  answer.body = std::move(body);
  return answer;
}

std::optional<int> size_of(Fields& fields, const boost::json::object& body, std::string_view name) {
  if (!body.contains(name)) return std::nullopt;
  return static_cast<int>(std::clamp<int64_t>(fields.integer(name), -1, 1 << 30));
}

Result<std::string> build_of(const rpc::Payload& request) {
  Fields fields(request.body);
  std::string build = fields.text("build");
  if (fields.problem()) return Error(ErrorCode::invalid_argument, *fields.problem());
  return build;
}

Result<std::vector<std::string>> layers_of(const boost::json::object& body) {
  std::vector<std::string> keys;
  auto list = body.if_contains("layers");
  if (!list) return keys;
  if (!list->is_array() || list->get_array().size() > kMostLayerKeys)
    return Error(ErrorCode::invalid_argument, "layers must be a list of at most 512");
  for (const auto& value : list->get_array()) {
    if (!value.is_string() || !Layers::is_key(value.get_string()))
      return Error(ErrorCode::invalid_argument, "a layer's key is 64 hex digits");
    keys.emplace_back(value.get_string());
  }
  return keys;
}

Result<Startup> startup_of(const boost::json::object& body) {
  Fields fields(body);
  Startup startup;
  HAKO_TRY(startup.defaults, parse_defaults(fields.object_or_empty("defaults")));
  startup.start_cmd = fields.text_or("start_cmd", "");
  startup.ready_cmd = fields.text_or("ready_cmd", "");
  if (fields.problem()) return Error(ErrorCode::invalid_argument, *fields.problem());
  if (startup.start_cmd.size() > kLongestCommand || startup.ready_cmd.size() > kLongestCommand)
    return Error(ErrorCode::invalid_argument, "a command is longer than 64 KiB");
  if (boost::json::serialize(startup.defaults.envs).size() > kMostEnvironment)
    return Error(ErrorCode::invalid_argument, "the environment is larger than 256 KiB");
  return startup;
}

boost::json::object describe(const Template& what) {
  return {{"name", what.name},
          {"memory_mib", what.size.memory_mib},
          {"vcpus", what.size.vcpus},
          {"disk_mib", what.disk_mib},
          {"revision", what.revision},
          {"defaults", to_json(what.startup.defaults)},
          {"created_ms", to_unix_ms(what.created)}};
}

}  // namespace

void TemplateService::attach(rpc::Peer& peer, std::shared_ptr<Begun> begun) {
  auto on = [&](const char* name, Answer (TemplateService::*method)(rpc::Payload)) {
    rpc::Handler handler = [this, method](rpc::Payload request) {
      return (this->*method)(std::move(request));
    };
    peer.on(name, std::move(handler));
  };
  on("template.list", &TemplateService::list);
  on("template.remove", &TemplateService::remove);
  on("build.layer", &TemplateService::keep_layer);
  on("build.use_as_root", &TemplateService::use_as_root);
  on("build.settle", &TemplateService::settle);
  on("build.finish", &TemplateService::finish);
  rpc::Handler on_begin = [this, begun](rpc::Payload request) {
    return begin(std::move(request), begun);
  };
  peer.on("build.begin", std::move(on_begin));
  rpc::Handler on_abort = [this, begun](rpc::Payload request) {
    return abort(std::move(request), begun);
  };
  peer.on("build.abort", std::move(on_abort));
}

Task<void> TemplateService::abort_all(std::shared_ptr<Begun> begun) {
  Begun ids = std::move(*begun);
  for (const auto& id : ids) co_await builds_.abort(id);
}

TemplateService::Answer TemplateService::list(rpc::Payload) {
  boost::json::array all;
  for (const auto& what : templates_.list()) {
    auto state = templates_.state(what.name);
    boost::json::object entry = describe(what);
    entry["state"] = state.state;
    entry["pooled"] = boxes_.pooled(what.name);
    if (!state.error.empty()) entry["error"] = state.error;
    all.push_back(std::move(entry));
  }
  boost::json::object body;
  body["templates"] = std::move(all);
  co_return answer_with(std::move(body));
}

Task<Result<void>> TemplateService::remove_and_close(std::string name) {
  HAKO_CO_TRYV(co_await templates_.remove(name));
  co_await boxes_.close_pool(name);
  co_return ok();
}

TemplateService::Answer TemplateService::remove(rpc::Payload request) {
  Fields fields(request.body);
  std::string name = fields.text("name");
  if (fields.problem()) co_return Error(ErrorCode::invalid_argument, *fields.problem());
  HAKO_CO_TRYV(co_await run_to_end(remove_and_close(name)));
  co_return rpc::Payload();
}

TemplateService::Answer TemplateService::begin(rpc::Payload request, std::shared_ptr<Begun> begun) {
  const config::Config& config = context_.config;
  Fields fields(request.body);
  TemplateBuilds::Begin wanted;
  wanted.build = fields.text("build");
  wanted.tenant = fields.text_or("tenant", "");
  wanted.from = fields.text_or("from", config.default_template);
  wanted.memory_mib = size_of(fields, request.body, "memory_mib");
  wanted.vcpus = size_of(fields, request.body, "vcpus");
  wanted.access_token = fields.text("access_token");
  if (fields.problem()) co_return Error(ErrorCode::invalid_argument, *fields.problem());
  HAKO_CO_TRY(wanted.layers, layers_of(request.body));
  if (!is_build_id(wanted.build))
    co_return Error(ErrorCode::invalid_argument, "malformed build id");
  if (wanted.memory_mib && (*wanted.memory_mib < 128 || *wanted.memory_mib > config.max_memory_mib))
    co_return Error(ErrorCode::invalid_argument,
                    "memory must be from 128 to " + std::to_string(config.max_memory_mib) + " MiB");
  if (wanted.vcpus && (*wanted.vcpus < 1 || *wanted.vcpus > config.max_vcpus))
    co_return Error(ErrorCode::invalid_argument,
                    "the number of CPUs must be from 1 to " + std::to_string(config.max_vcpus));
  std::string id = wanted.build;
  begun->insert(id);
  auto started = co_await run_to_end(builds_.begin(std::move(wanted)));
  if (!started) co_return started.error();
  boost::json::object body = {{"memory_mib", started.value().size.memory_mib},
                              {"vcpus", started.value().size.vcpus},
                              {"cached", started.value().cached_steps}};
  co_return answer_with(std::move(body));
}

TemplateService::Answer TemplateService::keep_layer(rpc::Payload request) {
  HAKO_CO_TRY(auto build, build_of(request));
  Fields fields(request.body);
  std::string key = fields.text("key");
  if (!Layers::is_key(key))
    co_return Error(ErrorCode::invalid_argument, "a layer's key is 64 hex digits");
  HAKO_CO_TRYV(co_await run_to_end(builds_.keep_layer(std::move(build), std::move(key))));
  co_return rpc::Payload();
}

TemplateService::Answer TemplateService::use_as_root(rpc::Payload request) {
  HAKO_CO_TRY(auto build, build_of(request));
  HAKO_CO_TRYV(co_await run_to_end(builds_.use_as_root(std::move(build))));
  co_return rpc::Payload();
}

TemplateService::Answer TemplateService::settle(rpc::Payload request) {
  HAKO_CO_TRY(auto build, build_of(request));
  HAKO_CO_TRYV(co_await run_to_end(builds_.settle(std::move(build))));
  co_return rpc::Payload();
}

Task<Result<Template>> TemplateService::finish_and_close(std::string build, std::string name,
                                                         Startup startup) {
  HAKO_CO_TRY(auto what, co_await builds_.finish(std::move(build), name, std::move(startup)));
  // Its clones are of what the template was before.
  co_await boxes_.close_pool(name);
  co_return std::move(what);
}

TemplateService::Answer TemplateService::finish(rpc::Payload request) {
  HAKO_CO_TRY(auto build, build_of(request));
  Fields fields(request.body);
  std::string name = fields.text("template");
  if (fields.problem()) co_return Error(ErrorCode::invalid_argument, *fields.problem());
  if (!is_template_name(name) || name == context_.config.default_template)
    co_return Error(ErrorCode::invalid_argument, "a template cannot have this name");
  HAKO_CO_TRY(auto startup, startup_of(request.body));
  auto what =
      co_await run_to_end(finish_and_close(std::move(build), std::move(name), std::move(startup)));
  if (!what) co_return what.error();
  co_return answer_with(describe(what.value()));
}

TemplateService::Answer TemplateService::abort(rpc::Payload request, std::shared_ptr<Begun> begun) {
  HAKO_CO_TRY(auto build, build_of(request));
  begun->erase(build);
  co_await run_to_end(builds_.abort(std::move(build)));
  co_return rpc::Payload();
}

}  // namespace hako::node
