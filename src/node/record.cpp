#include "node/record.h"

#include <algorithm>

#include "node/json_fields.h"

namespace hako::node {
namespace {

std::string_view name_of(VmState state) {
  switch (state) {
    case VmState::starting:
      return "starting";
    case VmState::pooled:
      return "pooled";
    case VmState::box:
      return "box";
    case VmState::left:
      return "left";
  }
  return "starting";
}

}  // namespace

boost::json::object to_json(const GuestDefaults& defaults) {
  boost::json::object fields = {{"user", defaults.user}, {"workdir", defaults.workdir}};
  fields["envs"] = defaults.envs;
  return fields;
}

Result<GuestDefaults> parse_defaults(const boost::json::object& object) {
  Fields fields(object);
  GuestDefaults defaults;
  defaults.user = fields.text_or("user", defaults.user);
  defaults.workdir = fields.text_or("workdir", defaults.workdir);
  defaults.envs = fields.object_or_empty("envs");
  if (auto problem = fields.problem()) return Error(ErrorCode::invalid_argument, *problem);
  for (const auto& [name, value] : defaults.envs)
    if (!value.is_string())
      return Error(ErrorCode::invalid_argument, "field 'envs' must hold texts only");
  return defaults;
}

bool is_checkpoint_id(std::string_view id) {
  if (id.empty() || id.size() > 64 || id.front() == '-') return false;
  return std::all_of(id.begin(), id.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
  });
}

boost::json::object to_json(const OnEnd& on_end) {
  return {{"then", on_end.pause ? "pause" : "end"},
          {"memory", on_end.memory},
          {"checkpoint", on_end.checkpoint}};
}

Result<OnEnd> parse_on_end(const boost::json::object& object) {
  Fields fields(object);
  OnEnd on_end;
  std::string then = fields.text("then");
  on_end.pause = then == "pause";
  on_end.checkpoint = fields.text_or("checkpoint", "");
  const auto* memory = object.if_contains("memory");
  if (memory && memory->is_bool()) on_end.memory = memory->get_bool();
  if (auto problem = fields.problem()) return Error(ErrorCode::invalid_argument, *problem);
  bool known = then == "pause" || then == "end";
  if (!known || (memory && !memory->is_bool()) ||
      (on_end.pause && !is_checkpoint_id(on_end.checkpoint)))
    return Error(ErrorCode::invalid_argument, "malformed 'on_end'");
  return on_end;
}

boost::json::object to_json(const VmRecord& record) {
  boost::json::object object = {
      {"machine", record.machine},
      {"slot", record.slot},
      {"state", name_of(record.state)},
      {"template", record.template_name},
      {"vcpus", record.size.vcpus},
      {"memory_mib", record.size.memory_mib},
      {"disk_mib", record.disk_mib},
      {"isolation", engine::to_string(record.isolation)},
      {"pid", record.vmm.pid},
      {"pid_start_time", record.vmm.start_time},
      {"control_path", record.vmm.control_path},
      {"defaults", to_json(record.defaults)},
      {"generation", record.generation},
      {"box", record.box},
      {"tenant", record.tenant},
      {"access_token", record.access_token},
      {"started_ms", to_unix_ms(record.started)},
      {"ends_ms", to_unix_ms(record.ends)},
  };
  if (!record.vmm.base.empty()) object["vmm_base"] = record.vmm.base;
  if (!record.replaces.empty()) object["replaces"] = record.replaces;
  if (record.on_end.pause) object["on_end"] = to_json(record.on_end);
  if (!record.envs.empty()) object["envs"] = record.envs;
  if (!record.ingress.empty()) object["ingress"] = record.ingress;
  if (!record.egress.empty()) object["egress"] = record.egress;
  return object;
}

Result<VmRecord> parse_record(std::string_view text) {
  boost::json::error_code error;
  auto value = boost::json::parse(text, error);
  if (error || !value.is_object())
    return Error(ErrorCode::corrupted, "machine record is not a JSON object");
  Fields fields(value.get_object());
  VmRecord record;
  record.machine = fields.text("machine");
  record.slot = static_cast<int>(fields.integer("slot"));
  std::string state = fields.text("state");
  record.state = state == "box"      ? VmState::box
                 : state == "pooled" ? VmState::pooled
                 : state == "left"   ? VmState::left
                                     : VmState::starting;
  record.template_name = fields.text("template");
  record.size.vcpus = static_cast<int>(fields.integer("vcpus"));
  record.size.memory_mib = static_cast<int>(fields.integer("memory_mib"));
  record.disk_mib = static_cast<int>(fields.integer("disk_mib"));
  record.isolation = fields.text("isolation") == "hardware" ? engine::Isolation::hardware
                                                            : engine::Isolation::emulated;
  record.vmm.pid = static_cast<pid_t>(fields.integer("pid"));
  record.vmm.start_time = static_cast<uint64_t>(fields.integer("pid_start_time"));
  record.vmm.control_path = fields.text("control_path");
  record.vmm.base = fields.text_or("vmm_base", "");
  auto defaults = parse_defaults(fields.object("defaults"));
  if (!defaults) return Error(ErrorCode::corrupted, defaults.error().message());
  record.defaults = std::move(defaults).value();
  record.generation = static_cast<int>(fields.integer("generation"));
  record.replaces = fields.text_or("replaces", "");
  if (auto text = fields.object_or_empty("on_end"); !text.empty()) {
    auto on_end = parse_on_end(text);
    if (!on_end) return Error(ErrorCode::corrupted, on_end.error().message());
    record.on_end = std::move(on_end).value();
  }
  record.box = fields.text("box");
  record.tenant = fields.text_or("tenant", kDefaultTenant);
  record.access_token = fields.text("access_token");
  record.envs = fields.object_or_empty("envs");
  record.ingress = fields.object_or_empty("ingress");
  record.egress = fields.object_or_empty("egress");
  record.started = from_unix_ms(fields.integer("started_ms"));
  record.ends = from_unix_ms(fields.integer("ends_ms"));
  if (auto problem = fields.problem()) return Error(ErrorCode::corrupted, *problem);
  return record;
}

}  // namespace hako::node
