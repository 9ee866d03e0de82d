// The commands about the audit log, as the parser knows them.
#pragma once

#include <cstdint>
#include <string>

#include "cli/options.h"

namespace CLI {
class App;
}

namespace hako::cli {

/// Which records are looked for. What is empty is not asked for.
struct AuditFilter {
  std::string since, until;  ///< RFC 3339, or a span before now ("2h")
  std::string sandbox, actor, action, outcome, text, of_tenant;
  int limit = 100;  ///< so many, the latest
};

struct AuditCommandOptions {
  AuditFilter filter;
  bool follow = false;
  std::string directory;
  std::string key, head, at_least;  ///< of verify
  int64_t begins_at = 0;
};

/// `audit`. `status` becomes the exit status.
void add_audit_commands(CLI::App& app, GlobalOptions& global, AuditCommandOptions& options,
                        int& status);

// audit.cpp
int search_audit(const GlobalOptions& global, const AuditFilter& filter, bool follow);
int show_audit_key(const GlobalOptions& global);
// audit_copy.cpp
int export_audit(const GlobalOptions& global, const std::string& directory);
int verify_audit(const GlobalOptions& global, const AuditCommandOptions& options);
int seal_off_audit(const GlobalOptions& global, const std::string& directory);

}  // namespace hako::cli
