// The commands about tenants and keys, as the parser knows them.
#pragma once

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
  std::string role, user, name;
  NarrowingOptions policy;
};

struct RotateOptions {
  std::string id;
  std::optional<std::chrono::seconds> grace;
};

/// Everything the parser fills for them; must live as long as the parser.
struct TenantCommandOptions {
  TenantOptions create, set;
  std::string name;
  KeyOptions key;
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
int rotate_key(const GlobalOptions& global, const RotateOptions& options);
int remove_keys(const GlobalOptions& global, const std::vector<std::string>& ids);

/// What the `policy` of an answer leaves, as caveats say it; empty for everything.
std::vector<std::string> policy_lines(const boost::json::value& answer);

}  // namespace hako::cli
