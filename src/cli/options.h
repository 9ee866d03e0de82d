// What the command line said, as plain values: the parser fills these, the commands read them.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace hako::cli {

/// hako's own failures where a command's exit status is passed on (run, exec, shell).
inline constexpr int kOwnFailure = 125;
inline constexpr int kCannotRun = 126;
inline constexpr int kNotFound = 127;

using Variables = std::vector<std::pair<std::string, std::string>>;

struct GlobalOptions {
  std::string config;   ///< path; empty: the default place
  std::string api_url;  ///< empty: environment, then the configuration
  std::string tenant;   ///< where the operator's key acts; empty: in the operator's own
  std::string ca_file;  ///< PEM; empty: environment, then the system's authorities
  bool json = false;
};

/// What may leave a box, and how confidential what it holds is. What is empty is not asked for.
struct Confinement {
  std::string label;
  std::string egress;
  std::vector<std::string> allow, deny;
};

/// Which models, and how much of them. What is nothing is not limited.
struct ModelLimits {
  std::vector<std::string> models;  ///< names, or beginnings of names with a '*'
  std::optional<int64_t> requests, tokens;
  std::optional<int64_t> microusd;  ///< millionths of a dollar
};

struct BoxOptions {
  std::string template_name;  ///< empty: the configured default
  Variables env;
  std::optional<int> memory_mib;
  std::optional<int> vcpus;
  std::optional<std::chrono::seconds> ttl;
  bool pause_at_end = false;
  bool auto_resume = false;
  std::vector<std::string> secrets;  ///< names of those that it uses
  Confinement confinement;
  ModelLimits models;
};

struct CommandOptions {
  std::vector<std::string> argv;
  Variables env;
  std::string user;
  std::string cwd;
  bool interactive = false;
  bool terminal = false;
  std::optional<std::chrono::seconds> timeout;
};

struct RunOptions {
  BoxOptions box;
  CommandOptions command;
  /// Cloned before the command runs, which then runs in the clone. A label of the box is then that of
  /// the repository: it is raised once that is there.
  std::string repo;
  std::string repo_secret;  ///< the secret that git shows for it
  bool keep = false;
};

struct AgentRunOptions {
  std::string name;
  RunOptions run;
};

struct AgentBuildOptions {
  std::string name;
  std::string version;   ///< of its package; empty: the newest
  std::string registry;  ///< empty: that of this machine's npm
  std::string ca_file;   ///< empty: that of this machine's npm
  std::string from;      ///< template
  std::optional<int> memory_mib;
  std::optional<int> vcpus;
};

struct ExecOptions {
  std::string id;
  CommandOptions command;
};

struct CopyOptions {
  std::string source, target;
  std::string user;
  std::string label;  ///< of what is copied into the box; empty: none
  bool quiet = false;
};

struct LogsOptions {
  std::string id;
  bool follow = false;
};

struct PauseOptions {
  std::vector<std::string> ids;
  bool files_only = false;
};

struct ResumeOptions {
  std::vector<std::string> ids;
  std::optional<std::chrono::seconds> ttl;
};

struct ForkOptions {
  std::string id;
  std::optional<int> count;
  std::optional<std::chrono::seconds> ttl;
};

/// One to take, or which to list: those of the box `id`, or all.
struct SnapshotOptions {
  std::string id;
  std::string name;
};

struct RollbackOptions {
  std::string id;
  std::string snapshot;  ///< its id or its name
};

struct TemplateBuildOptions {
  std::string name;
  std::string from;
  std::optional<int> memory_mib;
  std::optional<int> vcpus;
  std::vector<std::string> steps;
  std::string label;
};

struct TemplateImportOptions {
  std::string name;
  std::string path;
  std::optional<int> memory_mib;
  std::optional<int> vcpus;
  std::string label;
};

struct LabelOptions {
  std::string id;
  std::string label;
};

struct PolicyCheckOptions {
  Confinement confinement;
  std::string box;
  std::string destination;
};

struct PolicyExplainOptions {
  std::string action;
  std::string box;
  std::string token;  ///< empty: the key that is in use anyway
};

struct EgressLogOptions {
  std::string id;
  bool follow = false;
};

struct LinkAddOptions {
  std::string from, to;
  int port = 0;
  std::string name;
};

}  // namespace hako::cli
