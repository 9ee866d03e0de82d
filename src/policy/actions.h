// What a principal may do, as words; and which of them come with a role. Pure.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>

namespace hako::policy {

/// One thing that a key or token can be good for. What each route and each request for a box needs
/// stands in the route table and in the gate.
enum class Action {
  sandbox_create,   ///< "sandbox.create"
  sandbox_read,     ///< "sandbox.read": that it exists, its state, metrics, logs, egress records
  sandbox_control,  ///< "sandbox.control": life, network rules, label, links, end
  sandbox_exec,     ///< "sandbox.exec": commands and terminals in it
  sandbox_ports,    ///< "sandbox.ports": services that listen in it
  files_read,       ///< "files.read"
  files_write,      ///< "files.write"
  template_read,    ///< "template.read"
  template_write,   ///< "template.write": build, tag, remove
  tenant_read,      ///< "tenant.read": its own tenant's policy, quota and usage
  key_manage,       ///< "key.manage": keys of its own tenant, and no key above itself
  secret_read,      ///< "secret.read": which secrets there are, and for what; never their values
  secret_manage,    ///< "secret.manage": keep, grant, rotate and remove them
  audit_read,       ///< "audit.read": what happened in its own tenant
  tenant_manage,    ///< "tenant.manage": all tenants; the operator's alone
};

inline constexpr std::array kActions = {
    Action::sandbox_create, Action::sandbox_read, Action::sandbox_control, Action::sandbox_exec,
    Action::sandbox_ports,  Action::files_read,   Action::files_write,     Action::template_read,
    Action::template_write, Action::tenant_read,  Action::key_manage,      Action::secret_read,
    Action::secret_manage,  Action::audit_read,   Action::tenant_manage,
};

std::string_view to_string(Action action);
std::optional<Action> action_from(std::string_view word);

/// A set of actions. Value type.
class ActionSet {
 public:
  constexpr ActionSet() = default;
  constexpr ActionSet(std::initializer_list<Action> actions) {
    for (Action action : actions) bits_ |= bit(action);
  }
  static constexpr ActionSet all() {
    ActionSet set;
    for (Action action : kActions) set.bits_ |= bit(action);
    return set;
  }
  constexpr bool has(Action action) const { return (bits_ & bit(action)) != 0; }
  constexpr bool empty() const { return bits_ == 0; }
  /// Whether everything in `other` is in this one.
  constexpr bool covers(ActionSet other) const { return (other.bits_ & ~bits_) == 0; }
  constexpr ActionSet operator&(ActionSet other) const {
    ActionSet set;
    set.bits_ = bits_ & other.bits_;
    return set;
  }
  constexpr ActionSet operator|(ActionSet other) const {
    ActionSet set;
    set.bits_ = bits_ | other.bits_;
    return set;
  }
  constexpr ActionSet without(ActionSet other) const {
    ActionSet set;
    set.bits_ = bits_ & ~other.bits_;
    return set;
  }
  bool operator==(const ActionSet&) const = default;

 private:
  static constexpr uint32_t bit(Action action) { return uint32_t(1) << static_cast<int>(action); }
  uint32_t bits_ = 0;
};

/// What is done to a box that is there.
inline constexpr ActionSet kBoxActions = {Action::sandbox_read, Action::sandbox_control,
                                          Action::sandbox_exec, Action::sandbox_ports,
                                          Action::files_read,   Action::files_write};

/// "files.read,sandbox.read", in the order of kActions; and back. Words that nobody knows, and an
/// empty text, are nothing.
std::string to_string(ActionSet actions);
std::optional<ActionSet> actions_from(std::string_view words);

/// owner: everything in a tenant. member: everything but its keys, its secrets (of which it sees which
/// there are, and uses those that are granted to its boxes) and its audit. viewer: sees what
/// there is, and takes nothing out of boxes. auditor: sees what happened. platform: an owner who
/// may also make tenants, and act in any of them; no tenant's key has this role.
enum class Role { owner, member, viewer, auditor, platform };

inline constexpr std::array kRoles = {Role::owner, Role::member, Role::viewer, Role::auditor,
                                      Role::platform};

std::string_view to_string(Role role);
std::optional<Role> role_from(std::string_view word);
ActionSet actions_of(Role role);

}  // namespace hako::policy
