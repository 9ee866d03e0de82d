#include "api/render.h"

#include "api/field_reader.h"
#include "api/sandbox_options.h"
#include "base/clock.h"

namespace hako::api {
namespace json = boost::json;

namespace {

constexpr size_t kLongestText = 4096;
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

struct NodeTemplate {
  std::string name;
  std::string state;
  std::string error;
  int64_t memory_mib = 0;
  int64_t vcpus = 0;
  int64_t disk_mib = 0;
  int64_t pooled = 0;
  int64_t created_ms = 0;
};

Result<std::vector<NodeTemplate>> read_templates(const json::object& node_list) {
  const json::value* list = node_list.if_contains("templates");
  if (!list || !list->is_array()) {
    return Error(ErrorCode::corrupted, "template.list: templates must be an array");
  }
  std::vector<NodeTemplate> templates;
  for (const json::value& item : list->get_array()) {
    const json::object* fields = item.if_object();
    if (!fields) return Error(ErrorCode::corrupted, "template.list: a template must be an object");
    FieldReader reader(*fields, "template.list: ");
    NodeTemplate made;
    made.name = reader.text("name", kLongestText).value_or("");
    made.state = reader.text("state", kLongestText).value_or("");
    made.error = reader.text("error", 1 << 20).value_or("");
    made.memory_mib = reader.number("memory_mib", 0, INT32_MAX).value_or(0);
    made.vcpus = reader.number("vcpus", 0, INT32_MAX).value_or(0);
    made.disk_mib = reader.number("disk_mib", 0, INT32_MAX).value_or(0);
    made.pooled = reader.number("pooled", 0, INT32_MAX).value_or(0);
    made.created_ms = reader.number("created_ms", 0, INT64_MAX).value_or(0);
    if (auto outcome = reader.outcome(); !outcome) {
      return Error(ErrorCode::corrupted, outcome.error().message());
    }
    templates.push_back(std::move(made));
  }
  return templates;
}

}  // namespace

json::object sandbox_json(const store::SandboxRecord& record, const config::Config& config) {
  json::object object = names_of(record);
  if (!record.access_token.empty()) object["envdAccessToken"] = record.access_token;
  if (!record.traffic_token.empty()) object["trafficAccessToken"] = record.traffic_token;
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
  object["state"] = view(to_string(record.state));
  if (!record.metadata.empty()) {
    json::error_code bad;
    json::value metadata = json::parse(record.metadata, bad);
    if (!bad) object["metadata"] = std::move(metadata);
  }
  return object;
}

json::object detail_json(const store::SandboxRecord& record, const config::Config& config) {
  json::object object = listed_json(record);
  if (!record.access_token.empty()) object["envdAccessToken"] = record.access_token;
  object["domain"] = config.domain;
  SandboxOptions options = parse_options(record.options);
  if (options.allow_internet_access) {
    object["allowInternetAccess"] = *options.allow_internet_access;
  } else {
    object["allowInternetAccess"] = nullptr;
  }
  object["network"] = shown_network(options);
  json::object lifecycle;
  lifecycle["onTimeout"] = options.auto_pause ? "pause" : "kill";
  lifecycle["autoResume"] = options.auto_resume;
  object["lifecycle"] = std::move(lifecycle);
  return object;
}

Result<json::array> templates_json(const json::object& node_list) {
  HAKO_TRY(auto templates, read_templates(node_list));
  json::array list;
  for (const NodeTemplate& each : templates) {
    json::object object;
    object["templateID"] = each.name;
    object["buildID"] = each.name;
    object["cpuCount"] = each.vcpus;
    object["memoryMB"] = each.memory_mib;
    object["diskSizeMB"] = each.disk_mib;
    object["public"] = false;
    object["aliases"] = json::array({each.name});
    object["names"] = json::array({each.name});
    object["createdAt"] = time_text(each.created_ms);
    object["updatedAt"] = time_text(each.created_ms);
    object["createdBy"] = nullptr;
    object["lastSpawnedAt"] = nullptr;
    object["spawnCount"] = 0;
    object["buildCount"] = 1;
    object["envdVersion"] = view(kEnvdVersion);
    object["buildStatus"] = each.state == "failed" ? "error" : view(each.state);
    list.push_back(std::move(object));
  }
  return list;
}

Result<json::array> own_templates_json(const json::object& node_list) {
  HAKO_TRY(auto templates, read_templates(node_list));
  json::array list;
  for (const NodeTemplate& each : templates) {
    json::object object;
    object["name"] = each.name;
    object["state"] = each.state;
    if (!each.error.empty()) object["error"] = each.error;
    object["memoryMB"] = each.memory_mib;
    object["cpuCount"] = each.vcpus;
    object["diskMB"] = each.disk_mib;
    object["pooled"] = each.pooled;
    object["createdAt"] = time_text(each.created_ms);
    list.push_back(std::move(object));
  }
  return list;
}

}  // namespace hako::api
