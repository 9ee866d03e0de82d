#include "policy/actions.h"

#include <algorithm>

namespace hako::policy {

std::string_view to_string(Action action) {
  switch (action) {
    case Action::sandbox_create:
      return "sandbox.create";
    case Action::sandbox_read:
      return "sandbox.read";
    case Action::sandbox_control:
      return "sandbox.control";
    case Action::sandbox_exec:
      return "sandbox.exec";
    case Action::sandbox_ports:
      return "sandbox.ports";
    case Action::files_read:
      return "files.read";
    case Action::files_write:
      return "files.write";
    case Action::template_read:
      return "template.read";
    case Action::template_write:
      return "template.write";
    case Action::tenant_read:
      return "tenant.read";
    case Action::key_manage:
      return "key.manage";
    case Action::secret_read:
      return "secret.read";
    case Action::secret_manage:
      return "secret.manage";
    case Action::audit_read:
      return "audit.read";
    case Action::tenant_manage:
      return "tenant.manage";
  }
  return "unknown";
}

std::optional<Action> action_from(std::string_view word) {
  for (Action action : kActions) {
    if (word == to_string(action)) return action;
  }
  return std::nullopt;
}

std::string to_string(ActionSet actions) {
  std::string words;
  for (Action action : kActions) {
    if (!actions.has(action)) continue;
    if (!words.empty()) words += ',';
    words += to_string(action);
  }
  return words;
}

std::optional<ActionSet> actions_from(std::string_view words) {
  ActionSet actions;
  for (size_t begin = 0; begin <= words.size();) {
    size_t end = std::min(words.find(',', begin), words.size());
    auto action = action_from(words.substr(begin, end - begin));
    if (!action) return std::nullopt;
    actions = actions | ActionSet{*action};
    begin = end + 1;
  }
  return actions;
}

std::string_view to_string(Role role) {
  switch (role) {
    case Role::owner:
      return "owner";
    case Role::member:
      return "member";
    case Role::viewer:
      return "viewer";
    case Role::auditor:
      return "auditor";
    case Role::platform:
      return "platform";
  }
  return "unknown";
}

std::optional<Role> role_from(std::string_view word) {
  for (Role role : kRoles) {
    if (word == to_string(role)) return role;
  }
  return std::nullopt;
}

ActionSet actions_of(Role role) {
  using enum Action;
  constexpr ActionSet kMember = {sandbox_create, sandbox_read, sandbox_control, sandbox_exec,
                                 sandbox_ports,  files_read,   files_write,     template_read,
                                 template_write, tenant_read,  secret_read};
  switch (role) {
    case Role::owner:
      return kMember | ActionSet{key_manage, secret_manage, audit_read};
    case Role::member:
      return kMember;
    case Role::viewer:
      return {sandbox_read, template_read, tenant_read, secret_read};
    case Role::auditor:
      return {audit_read, tenant_read};
    case Role::platform:
      return ActionSet::all();
  }
  return {};
}

}  // namespace hako::policy
