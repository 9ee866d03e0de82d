// What the command line said, as plain values: the parser fills these, the commands read them.
#pragma once

#include <chrono>
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
  bool json = false;
};

struct BoxOptions {
  std::string template_name;  ///< empty: the configured default
  Variables env;
  std::optional<int> memory_mib;
  std::optional<int> vcpus;
  std::optional<std::chrono::seconds> ttl;
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
  bool keep = false;
};

struct ExecOptions {
  std::string id;
  CommandOptions command;
};

struct CopyOptions {
  std::string source, target;
  std::string user;
  bool quiet = false;
};

struct LogsOptions {
  std::string id;
  bool follow = false;
};

struct TemplateBuildOptions {
  std::string name;
  std::string from;
  std::optional<int> memory_mib;
  std::optional<int> vcpus;
  std::vector<std::string> steps;
};

struct TemplateImportOptions {
  std::string name;
  std::string path;
  std::optional<int> memory_mib;
  std::optional<int> vcpus;
};

}  // namespace hako::cli
