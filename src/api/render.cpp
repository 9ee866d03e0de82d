#include "api/render.h"

#include <algorithm>

#include "api/field_reader.h"
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

/// Drops what a terminal would obey: C0 and C1 controls, DEL.
std::string without_controls(std::string_view line) {
  std::string text;
  for (size_t i = 0; i < line.size(); ++i) {
    auto byte = static_cast<unsigned char>(line[i]);
    bool c1 = byte == 0xc2 && i + 1 < line.size() && static_cast<unsigned char>(line[i + 1]) < 0xa0;
    if (c1) {
      ++i;
    } else if ((byte >= 0x20 && byte != 0x7f) || byte == '\t') {
      text += line[i];
    }
  }
  return text;
}

}  // namespace

json::object sandbox_json(const store::SandboxRecord& record, const config::Config& config) {
  json::object object = names_of(record);
  if (!record.access_token.empty()) object["envdAccessToken"] = record.access_token;
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
  // Whatever was asked for: nothing leaves a box of this version.
  object["allowInternetAccess"] = false;
  json::object network;
  network["allowPublicTraffic"] = true;
  object["network"] = std::move(network);
  json::object lifecycle;
  lifecycle["onTimeout"] = "kill";
  lifecycle["autoResume"] = false;
  object["lifecycle"] = std::move(lifecycle);
  return object;
}

std::vector<std::string> console_lines(std::string_view console) {
  std::vector<std::string> lines;
  while (!console.empty()) {
    size_t end = std::min(console.find('\n'), console.size());
    std::string line = without_controls(console.substr(0, end));
    console.remove_prefix(std::min(end + 1, console.size()));
    if (!line.empty()) lines.push_back(std::move(line));
  }
  return lines;
}

std::vector<std::string> select_lines(std::vector<std::string> lines, int64_t started_ms,
                                      const LogQuery& query) {
  if (!query.info || started_ms < query.not_before_ms) return {};
  auto unwanted = [&](const std::string& line) { return line.find(query.search) == line.npos; };
  lines.erase(std::remove_if(lines.begin(), lines.end(), unwanted), lines.end());
  if (lines.size() > query.limit) lines.erase(lines.begin(), lines.end() - long(query.limit));
  if (query.backward) std::reverse(lines.begin(), lines.end());
  return lines;
}

}  // namespace hako::api
