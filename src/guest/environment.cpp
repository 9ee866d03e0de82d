#include "guest/environment.h"

#include <unordered_map>

#include "guest/trust.h"

namespace hako::guest {

ProgramEnvironment build_environment(const User& user, const Identity& identity,
                                     const wire::Environment& requested) {
  ProgramEnvironment result;
  auto& variables = result.variables;
  variables.reserve(20 + identity.environment().size() + requested.size());
  std::unordered_map<std::string, size_t> places;
  auto set = [&](const std::string& name, std::string_view value) {
    std::string variable;
    variable.reserve(name.size() + 1 + value.size());
    variable.append(name).append("=").append(value);
    auto [place, is_new] = places.try_emplace(name, variables.size());
    if (is_new) {
      variables.push_back(std::move(variable));
    } else {
      variables[place->second] = std::move(variable);
    }
    if (name == "PATH") result.search_path = value;
  };
  set("PATH", kDefaultPath);
  set("HOME", user.home);
  set("USER", user.name);
  set("LOGNAME", user.name);
  if (!user.shell.empty()) set("SHELL", user.shell);
  set("E2B_SANDBOX", "true");
  if (!identity.sandbox_id().empty()) set("E2B_SANDBOX_ID", identity.sandbox_id());
  if (!identity.template_id().empty()) set("E2B_TEMPLATE_ID", identity.template_id());
  if (identity.has_authority()) {
    for (const auto& [name, value] : trust_variables()) set(name, value);
  }
  for (const auto& [name, value] : identity.environment()) set(name, value);
  for (const auto& [name, value] : requested) set(name, value);
  return result;
}

}  // namespace hako::guest
