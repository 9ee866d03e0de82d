#include "api/render.h"

#include "api/egress_policy.h"
#include "api/sandbox_options.h"
#include "base/clock.h"

namespace hako::api {
namespace json = boost::json;

namespace {

/// E2B's clients want one; there is a single client here, the API itself.
constexpr std::string_view kClientId = "hako";

json::string_view view(std::string_view text) {
  return {text.data(), text.size()};
}

std::string time_text(int64_t unix_ms) {
  return to_rfc3339(from_unix_ms(unix_ms));
}

json::object names_of(const store::SandboxRecord& record) {
  json::object object;
  object["templateID"] = record.template_name;
  object["sandboxID"] = record.id;
  object["clientID"] = view(kClientId);
  object["envdVersion"] = view(kEnvdVersion);
  if (!record.alias.empty()) object["alias"] = record.alias;
  object["isolation"] = record.isolation;
  return object;
}

}  // namespace

json::object sandbox_json(const store::SandboxRecord& record, const config::Config& config,
                          const ShownTokens& tokens) {
  json::object object = names_of(record);
  if (!tokens.inside.empty()) object["envdAccessToken"] = tokens.inside;
  if (!tokens.ports.empty()) object["trafficAccessToken"] = tokens.ports;
  object["domain"] = config.domain;
  return object;
}

json::object listed_json(const store::SandboxRecord& record) {
  json::object object = names_of(record);
  object["startedAt"] = time_text(record.started_ms);
  object["endAt"] = time_text(record.ends_ms);
  object["cpuCount"] = record.vcpus;
  object["memoryMB"] = record.memory_mib;
  object["diskSizeMB"] = record.disk_mib;
  // Clients know these two: what is on its way to either is not to be used yet.
  bool runs = record.state == store::SandboxState::running;
  object["state"] = runs ? "running" : "paused";
  object["label"] = record.label;
  if (!record.metadata.empty()) {
    json::error_code bad;
    json::value metadata = json::parse(record.metadata, bad);
    if (!bad) object["metadata"] = std::move(metadata);
  }
  return object;
}

json::object detail_json(const store::SandboxRecord& record, const config::Config& config,
                         const ShownTokens& tokens) {
  json::object object = listed_json(record);
  if (!tokens.inside.empty()) object["envdAccessToken"] = tokens.inside;
  object["domain"] = config.domain;
  SandboxOptions options = parse_options(record.options);
  policy::EgressPolicy egress = read_policy(record.egress);
  object["allowInternetAccess"] = level_of(egress) == policy::EgressLevel::internet;
  object["egress"] = shown_egress(egress);
  object["network"] = shown_network(options);
  json::object lifecycle;
  lifecycle["onTimeout"] = options.auto_pause ? "pause" : "kill";
  lifecycle["autoResume"] = options.auto_resume;
  object["lifecycle"] = std::move(lifecycle);
  return object;
}

}  // namespace hako::api
