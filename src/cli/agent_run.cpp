// `hako agent run`: a whole agent in a box of its own.
#include <unistd.h>

#include <algorithm>

#include "cli/agents.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/terminal.h"
#include "cli/text.h"

namespace hako::cli {
namespace {

Error unknown_agent(std::string_view name) {
  return Error(ErrorCode::invalid_argument,
               "no agent '" + printable_field(std::string(name)) + "' is known: there are " +
                   names_of_agents() + ". `hako run --template T -t -- COMMAND` runs any other");
}

/// Where the agent's model is: the usual host, or the one that the user has set.
Result<std::string> model_target(const Agent& agent, const Variables& variables) {
  for (const auto& [name, value] : variables)
    if (name == agent.base_url) return target_of_url(value);
  return std::string(agent.host);
}

}  // namespace

int run_agent(const GlobalOptions& global, const AgentRunOptions& options) {
  const Agent* agent = find_agent(options.name);
  if (!agent) return fail(unknown_agent(options.name), kOwnFailure);
  RunOptions run = options.run;
  auto target = model_target(*agent, run.command.env);
  if (!target) return fail(target.error(), kOwnFailure);
  if (run.box.template_name.empty()) run.box.template_name = template_of(*agent);
  Confinement& confinement = run.box.confinement;
  if (confinement.egress.empty() || confinement.egress == "allow")
    confinement.allow.push_back(target.value());

  CommandOptions& command = run.command;
  std::vector<std::string> argv{std::string(agent->command)};
  argv.insert(argv.end(), agent->arguments.begin(), agent->arguments.end());
  argv.insert(argv.end(), command.argv.begin(), command.argv.end());
  command.argv = std::move(argv);
  // As it would be if it ran here.
  command.interactive = true;
  command.terminal = is_terminal(STDIN_FILENO) && is_terminal(STDOUT_FILENO);
  run.box.env = command.env;
  return run_in_new_box(global, run);
}

int list_agents(const GlobalOptions&) {
  std::vector<std::vector<std::string>> rows{{"NAME", "PACKAGE", "TEMPLATE", "MODEL"}};
  for (const Agent& agent : known_agents())
    rows.push_back({std::string(agent.name), std::string(agent.package), template_of(agent),
                    std::string(agent.host)});
  print(format_table(rows));
  return 0;
}

}  // namespace hako::cli
