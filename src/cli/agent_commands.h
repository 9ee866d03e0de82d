// The commands about agents, as the parser knows them.
#pragma once

#include "cli/options.h"

namespace CLI {
class App;
}

namespace hako::cli {

/// Everything the parser fills for them; must live as long as the parser.
struct AgentCommandOptions {
  AgentRunOptions run;
  AgentBuildOptions build;
};

/// `--repo` and `--budget` of a new box.
void add_agent_options(CLI::App* app, RunOptions& run);
/// What goes into a RunOptions besides: the parser's own function.
using AddBoxOptions = void (*)(CLI::App* app, RunOptions& run);

/// `agent` and `mcp`. `behind_dashes`: what stands behind --, which is the agent's. `status` becomes
/// the exit status.
void add_agent_commands(CLI::App& app, GlobalOptions& global, AgentCommandOptions& options,
                        const std::vector<std::string>& behind_dashes, AddBoxOptions add_box_options,
                        int& status);

}  // namespace hako::cli
