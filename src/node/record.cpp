#include "node/record.h"

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
  record.box = fields.text("box");
  record.tenant = fields.text_or("tenant", kDefaultTenant);
  record.access_token = fields.text("access_token");
  record.ingress = fields.object_or_empty("ingress");
  record.egress = fields.object_or_empty("egress");
  record.started = from_unix_ms(fields.integer("started_ms"));
  record.ends = from_unix_ms(fields.integer("ends_ms"));
  if (auto problem = fields.problem()) return Error(ErrorCode::corrupted, *problem);
  return record;
}

}  // namespace hako::node
