#include "cli/agent_commands.h"

#include <CLI/CLI.hpp>

#include "cli/agents.h"
#include "cli/commands.h"

namespace hako::cli {

void add_agent_options(CLI::App* app, RunOptions& run) {
  auto* repo = app->add_option("--repo", run.repo,
                               "Clone it in the box first, and work there; --label then is that of "
                               "the clone")
                   ->type_name("URL");
  app->add_option("--repo-secret", run.repo_secret, "The secret that git shows for it")
      ->type_name("NAME")
      ->needs(repo);
  app->add_option_function<std::vector<std::string>>(
         "--budget",
         [&run](const std::vector<std::string>& texts) {
           for (const std::string& text : texts) {
             auto parsed = parse_budget(text, run.box.models);
             if (!parsed) throw CLI::ValidationError(parsed.error().message());
           }
         },
         "What it may spend on models: 5usd, 200000tokens, 100requests; may be repeated")
      ->type_name("AMOUNT")
      ->expected(1)
      ->take_all()
      ->allow_extra_args(false)
      ->trigger_on_parse(false);
}

void add_agent_commands(CLI::App& app, GlobalOptions& global, AgentCommandOptions& options,
                        const std::vector<std::string>& behind_dashes,
                        AddBoxOptions add_box_options, int& status) {
  auto* group = app.add_subcommand("agent", "Agents: whole programs that think and act, in boxes");
  group->require_subcommand(1);

  auto* run = group->add_subcommand("run", "Run an agent in a new box, destroyed when it ends");
  run->add_option("name", options.run.name, "Which: " + names_of_agents())
      ->required()
      ->type_name("NAME");
  add_box_options(run, options.run.run);
  add_agent_options(run, options.run.run);
  run->add_flag("--keep", options.run.run.keep, "Do not destroy the box at the end");
  run->callback([&] {
    options.run.run.command.argv = behind_dashes;
    status = run_agent(global, options.run);
  });

  auto* build = group->add_subcommand(
      "build", "Make the template of an agent: install it from npm in a box, and keep that");
  build->add_option("name", options.build.name, "Which: " + names_of_agents())
      ->required()
      ->type_name("NAME");
  build->add_option("--version", options.build.version, "Of its package; the newest if not given")
      ->type_name("VERSION");
  build->add_option("--registry", options.build.registry,
                    "Where packages come from; as this machine's npm has it if not given")
      ->type_name("URL");
  build->add_option("--registry-ca", options.build.ca_file,
                    "Authorities that vouch for it, in PEM; as this machine's npm has it")
      ->type_name("FILE");
  build->add_option("--from", options.build.from, "Template to start from")->type_name("NAME");
  auto number = [build](const std::string& name, std::optional<int>& into, int most,
                        const std::string& help) {
    build->add_option_function<int>(name, [&into](int value) { into = value; }, help)
        ->check(CLI::Range(1, most))
        ->type_name("N");
  };
  number("--memory", options.build.memory_mib, 1 << 20, "Memory in MiB; 2048 if not given");
  number("--cpu", options.build.vcpus, 256, "Virtual CPUs");
  build->callback([&] { status = build_agent(global, options.build); });

  auto* list = group->add_subcommand("ls", "List the agents that are known");
  list->callback([&] { status = list_agents(global); });

  auto* mcp = app.add_subcommand(
      "mcp", "Speak the Model Context Protocol on standard input and output, for an agent's client");
  mcp->callback([&] { status = serve_mcp(global); });
}

}  // namespace hako::cli
