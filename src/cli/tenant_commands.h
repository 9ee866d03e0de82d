// The commands about tenants and keys, as the parser knows them.
#pragma once

#include <boost/json/object.hpp>

#include <functional>

#include "base/async/task.h"
#include "cli/narrowing.h"
#include "policy/quota.h"

namespace hako::cli {

struct TenantOptions {
  std::string name;
  NarrowingOptions policy;
  policy::Quota quota;
  std::vector<std::string> unset;  ///< "policy.label", "quota.boxes"
};

struct KeyOptions {
  std::string id;  ///< of the one to change
  std::optional<std::string> role, user, name;
  NarrowingOptions policy;
  std::vector<std::string> unset;  ///< "policy.label"; of one to change
};

struct RotateOptions {
  std::string id;
  std::optional<std::chrono::seconds> grace;
};

/// Everything the parser fills for them; must live as long as the parser.
struct TenantCommandOptions {
  TenantOptions create, set;
  std::string name;
  KeyOptions key, change;
  RotateOptions rotate;
  std::string id;
  std::vector<std::string> ids, names;
};

/// `tenant` and `key`. `status` becomes the exit status.
void add_tenant_commands(CLI::App& app, GlobalOptions& global, TenantCommandOptions& options,
                         int& status);

// tenants.cpp
int list_tenants(const GlobalOptions& global);
int create_tenant(const GlobalOptions& global, const TenantOptions& options);
int show_tenant(const GlobalOptions& global, const std::string& name);
int set_tenant(const GlobalOptions& global, const TenantOptions& options);
int suspend_tenant(const GlobalOptions& global, const std::string& name, bool suspended);
int remove_tenants(const GlobalOptions& global, const std::vector<std::string>& names);

// keys.cpp
int list_keys(const GlobalOptions& global);
int create_key(const GlobalOptions& global, const KeyOptions& options);
int show_key(const GlobalOptions& global, const std::string& id);
int set_key(const GlobalOptions& global, const KeyOptions& options);
int rotate_key(const GlobalOptions& global, const RotateOptions& options);
int remove_keys(const GlobalOptions& global, const std::vector<std::string>& ids);

// What several of these commands do, in tenants.cpp.

/// GET `target`, whose answer has a list under `name`: printed as JSON, or as a table below
/// `heading` with a row for each.
Task<int> print_list(const GlobalOptions& global, std::string target, const char* name,
                     std::vector<std::string> heading,
                     std::function<std::vector<std::string>(const boost::json::value&)> row);

/// A member that is an object; empty if there is none.
boost::json::object object_member(const boost::json::value& object, std::string_view name);
/// Takes "policy.label" out of `policy`, "quota.boxes" out of `quota`; a null one has nothing.
/// `show` names the command that lists what is set. invalid_argument.
Result<void> take_out(const std::string& member, boost::json::object& policy,
                      boost::json::object* quota, std::string_view show);

/// What the `policy` of an answer leaves, as caveats say it; empty for everything.
std::vector<std::string> policy_lines(const boost::json::value& answer);

}  // namespace hako::cli
