// What the node writes down about each of its virtual machines.
#pragma once

#include <boost/json.hpp>

#include <map>
#include <string>

#include "base/clock.h"
#include "engine/engine.h"

namespace hako::node {

/// starting: no one can use it yet. pooled: restored, warmed, paused. box: handed out.
enum class VmState { starting, pooled, box };

/// What a program in a box starts with unless its request says otherwise; the template's.
struct GuestDefaults {
  std::string user = "user";
  std::string workdir = "/home/user";
  boost::json::object envs;  ///< texts; a box's own win over these
};
boost::json::object to_json(const GuestDefaults& defaults);
/// What is absent keeps its default. invalid_argument for a wrong type.
Result<GuestDefaults> parse_defaults(const boost::json::object& fields);

/// Whose boxes are that were made before there were tenants, or for none.
inline constexpr char kDefaultTenant[] = "default";

/// Lives in <vm folder>/record.json. Written before the VMM starts, so that whatever a crash leaves
/// behind has a record or a uid of ours by which it is found.
struct VmRecord {
  std::string machine;  ///< "m<slot>-<random>", never used twice
  int slot = -1;
  VmState state = VmState::starting;
  std::string template_name;
  engine::MachineSize size;
  int disk_mib = 0;
  engine::Isolation isolation = engine::Isolation::emulated;
  engine::MachineRecord vmm;
  GuestDefaults defaults;
  int generation = 0;  ///< of the guest's identity; grows with each restore
  // Once it is a box:
  std::string box;
  std::string tenant = kDefaultTenant;  ///< whose it is; empty: nobody's yet
  std::string access_token;
  boost::json::object ingress;  ///< what the gate is told about reaching it; may be empty
  boost::json::object egress;   ///< the same about what it may reach; empty: nothing
  WallTime started{};
  WallTime ends{};
};

boost::json::object to_json(const VmRecord& record);
/// corrupted if anything is missing or of the wrong type.
Result<VmRecord> parse_record(std::string_view text);

}  // namespace hako::node
