// What the node writes down about each of its virtual machines.
#pragma once

#include <boost/json.hpp>

#include <map>
#include <string>

#include "base/clock.h"
#include "engine/engine.h"

namespace hako::node {

/// starting: no one can use it yet. pooled: restored, warmed, paused. box: handed out. left: what was
/// its box lives on as a checkpoint, or in another machine.
enum class VmState { starting, pooled, box, left };

/// What a program in a box starts with unless its request says otherwise; the template's.
struct GuestDefaults {
  std::string user = "user";
  std::string workdir = "/home/user";
  boost::json::object envs;  ///< texts; a box's own win over these
};
boost::json::object to_json(const GuestDefaults& defaults);
/// What is absent keeps its default. invalid_argument for a wrong type.
Result<GuestDefaults> parse_defaults(const boost::json::object& fields);

/// Whether it may name a checkpoint: 1 to 64 of [a-z0-9-], the first no '-'.
bool is_checkpoint_id(std::string_view id);

/// What becomes of a box when its time is over.
struct OnEnd {
  bool pause = false;  ///< it becomes a checkpoint; otherwise it just ends
  bool memory = true;  ///< with its memory; otherwise only its disk
  std::string checkpoint;  ///< its id
  bool operator==(const OnEnd&) const = default;
};
boost::json::object to_json(const OnEnd& on_end);
/// invalid_argument for a wrong type, and for an id that is none.
Result<OnEnd> parse_on_end(const boost::json::object& fields);

/// Of a record as it is written down, bytes.
inline constexpr size_t kLargestRecord = 4 << 20;

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
  std::string replaces;  ///< machine that its box left for this one; empty: none
  // Once it is a box:
  std::string box;
  std::string tenant = kDefaultTenant;  ///< whose it is; empty: nobody's yet
  std::string access_token;
  boost::json::object envs;     ///< texts, over those of `defaults`
  boost::json::object ingress;  ///< what the gate is told about reaching it; may be empty
  boost::json::object egress;   ///< the same about what it may reach; empty: nothing
  WallTime started{};
  WallTime ends{};
  OnEnd on_end;
};

boost::json::object to_json(const VmRecord& record);
/// corrupted if anything is missing or of the wrong type.
Result<VmRecord> parse_record(std::string_view text);

}  // namespace hako::node
