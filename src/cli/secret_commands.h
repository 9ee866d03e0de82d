// The commands about secrets, as the parser knows them.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cli/options.h"

namespace CLI {
class App;
}

namespace hako::cli {

/// What is empty or nothing stays as it is, or has its default.
struct SecretOptions {
  std::string name;
  std::string file;  ///< where the value is; empty: standard input
  std::vector<std::string> hosts;
  std::vector<std::string> uses;  ///< "bearer", "basic", "basic:USER", "header:NAME", "header:NAME:FORM"
  std::optional<std::string> env;
  std::string label;
  std::vector<std::string> tenants, agents, boxes;  ///< whom it is granted to
};

struct SecretUseOptions {
  std::string box;
  std::vector<std::string> secrets;
  bool none = false;
};

/// Everything the parser fills for them; must live as long as the parser.
struct SecretCommandOptions {
  SecretOptions add, set, rotate;
  SecretUseOptions use;
  std::string name;
  std::vector<std::string> names;
};

/// `secret`. `status` becomes the exit status.
void add_secret_commands(CLI::App& app, GlobalOptions& global, SecretCommandOptions& options,
                         int& status);

// secrets.cpp
int list_secrets(const GlobalOptions& global);
int show_secret(const GlobalOptions& global, const std::string& name);
int add_secret(const GlobalOptions& global, const SecretOptions& options);
int set_secret(const GlobalOptions& global, const SecretOptions& options);
int rotate_secret(const GlobalOptions& global, const SecretOptions& options);
int remove_secrets(const GlobalOptions& global, const std::vector<std::string>& names);
int use_secrets(const GlobalOptions& global, const SecretUseOptions& options);

}  // namespace hako::cli
