#include "api/sandbox_calls.h"

#include "api/checkpoints.h"
#include "api/egress_policy.h"
#include "api/field_reader.h"
#include "api/sandboxes.h"
#include "policy/egress_json.h"

namespace hako::api {
namespace json = boost::json;
using store::SandboxRecord;
using store::SandboxState;

json::object box_only(const std::string& id, const std::string& tenant) {
  json::object body;
  body["box"] = id;
  if (!tenant.empty()) body["tenant"] = tenant;
  return body;
}

json::object described_box(const SandboxRecord& record, const SandboxOptions& options) {
  json::object body = box_only(record.id, record.tenant);
  body["ends_ms"] = record.ends_ms;
  if (auto on_end = on_end_json(record.id, record.pauses, options)) {
    body["on_end"] = std::move(*on_end);
  }
  if (!record.access_token.empty()) body["access_token"] = record.access_token;
  json::object ingress = ingress_json(record, options);
  if (!ingress.empty()) body["ingress"] = std::move(ingress);
  body["egress"] = policy::to_json(read_policy(record.egress));
  return body;
}

Result<store::Started> read_started(const json::object& body) {
  FieldReader reader(body, "box.create: ");
  store::Started started;
  started.started_ms = reader.number("started_ms", 1, INT64_MAX).value_or(0);
  started.vcpus = int(reader.number("vcpus", 1, INT32_MAX).value_or(0));
  started.memory_mib = int(reader.number("memory_mib", 1, INT32_MAX).value_or(0));
  started.disk_mib = int(reader.number("disk_mib", 0, INT32_MAX).value_or(0));
  started.isolation = reader.text("isolation", 64).value_or("");
  if (started.started_ms == 0) reader.fail("started_ms", "is missing");
  auto outcome = reader.outcome();
  if (!outcome) return Error(ErrorCode::corrupted, outcome.error().message());
  return started;
}

Result<store::Started> read_child(const json::value& child) {
  const json::object* fields = child.if_object();
  if (!fields) return Error(ErrorCode::corrupted, "box.fork: a child must be an object");
  FieldReader reader(*fields, "box.fork: ");
  const json::object* failed = reader.object("error");
  if (!failed) return read_started(*fields);
  FieldReader inner(*failed, "box.fork: error.");
  auto code = error_code_from(inner.text("code", 64).value_or(""));
  return Error(code, inner.text("message", 4096).value_or("the node could not make it"));
}

void take_started(SandboxRecord& record, const store::Started& started) {
  record.state = SandboxState::running;
  record.vcpus = started.vcpus;
  record.memory_mib = started.memory_mib;
  record.disk_mib = started.disk_mib;
  record.isolation = started.isolation;
}

bool is_ambiguous(const Error& error) {
  return error.code() == ErrorCode::timed_out || error.code() == ErrorCode::unavailable ||
         error.code() == ErrorCode::cancelled;
}

Error sandbox_not_found(const std::string& id) {
  return Error(ErrorCode::not_found, "sandbox " + id + " not found");
}

Error wrong_state(const std::string& id, SandboxState state) {
  const char* is = "is not running";
  if (state == SandboxState::running) is = "is already running";
  if (state == SandboxState::pausing) is = "is being paused";
  if (state == SandboxState::paused) is = "is paused";
  if (state == SandboxState::resuming) is = "is being resumed";
  return Error(ErrorCode::failed_precondition, "sandbox " + id + " " + is);
}

Error refused_field(const policy::Decision& decision) {
  std::string_view field = "timeout";
  if (decision.rule == "limits.memory") field = "memoryMB";
  if (decision.rule == "limits.vcpus") field = "cpuCount";
  return Error(ErrorCode::invalid_argument, std::string(field) + ": " + decision.explanation());
}

policy::BoxLimits limits_of(const config::Config& config) {
  return {config.max_memory_mib, config.max_vcpus, config.max_ttl};
}

}  // namespace hako::api
