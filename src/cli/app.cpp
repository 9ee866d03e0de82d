#include "cli/app.h"

#include <unistd.h>
#include <CLI/CLI.hpp>

#include "cli/agent_commands.h"
#include "cli/audit_commands.h"
#include "cli/commands.h"
#include "cli/duration.h"
#include "cli/egress_commands.h"
#include "cli/model_commands.h"
#include "cli/output.h"
#include "cli/secret_commands.h"
#include "cli/snapshot_commands.h"
#include "cli/tenant_commands.h"
#include "cli/terminal.h"
#include "cli/token_commands.h"

namespace hako::cli {
namespace {

constexpr const char* kVersion = "hako " HAKO_VERSION;

constexpr const char* kFooter = R"(
Exit status of run, exec and shell: that of the command; 128+n if signal n ended it; 127 if it was
not found in the box, 126 if it could not be run, 125 if hako itself failed. Other commands: 0, or
1 with the reason on standard error; 2 if the command line was not understood.

The API is at --api-url, $HAKO_API_URL or $E2B_API_URL, else where the configuration says. The key
is $HAKO_API_KEY or $E2B_API_KEY, else the key file that `hako up` made. An https API must have a
certificate that an authority of the system vouches for, or one in --ca or $HAKO_CA_FILE.)";

/// Everything the parser fills; lives as long as the parser.
struct Parsed {
  GlobalOptions global;
  RunOptions run;
  BoxOptions create, attack;
  ExecOptions exec;
  RunOptions shell;
  std::string shell_id;
  CopyOptions copy;
  LogsOptions logs;
  TemplateBuildOptions build;
  TemplateImportOptions image;
  AgentCommandOptions agent;
  AuditCommandOptions audit;
  EgressCommandOptions egress;
  SnapshotCommandOptions snapshot;
  TokenCommandOptions token;
  TenantCommandOptions tenant;
  SecretCommandOptions secret;
  ModelCommandOptions model;
  std::vector<std::string> ids, names;
  std::string id;
  std::vector<std::string> behind_dashes;
  bool foreground = false, keep_boxes = false, all = false;
};

void add_duration(CLI::App* app, const std::string& name, std::optional<std::chrono::seconds>& into,
                  const std::string& help) {
  app->add_option_function<std::string>(
         name,
         [&into](const std::string& text) {
           auto span = parse_duration(text);
           if (!span) throw CLI::ValidationError(span.error().message());
           into = span.value();
         },
         help)
      ->type_name("TIME");
}

void add_number(CLI::App* app, const std::string& name, std::optional<int>& into, int most,
                const std::string& help) {
  app->add_option_function<int>(
         name, [&into](int value) { into = value; }, help)
      ->check(CLI::Range(1, most))
      ->type_name("N");
}

void add_environment(CLI::App* app, Variables& into) {
  app->add_option_function<std::vector<std::string>>(
         "-e,--env",
         [&into](const std::vector<std::string>& pairs) {
           for (const auto& pair : pairs) {
             size_t equals = pair.find('=');
             if (equals == 0 || equals == std::string::npos)
               throw CLI::ValidationError("'" + pair + "' is no variable: write NAME=VALUE");
             into.emplace_back(pair.substr(0, equals), pair.substr(equals + 1));
           }
         },
         "Set a variable; may be given several times")
      ->type_name("NAME=VALUE")
      ->expected(1)
      // Else what follows, such as the box's id, were a further one.
      ->allow_extra_args(false)
      ->take_all()
      ->trigger_on_parse(false);
}

void add_box_options(CLI::App* app, BoxOptions& box, bool with_environment) {
  app->add_option("--template", box.template_name, "Template to make the box from")
      ->type_name("NAME");
  if (with_environment) add_environment(app, box.env);
  add_number(app, "--memory", box.memory_mib, 1 << 20, "Memory in MiB");
  add_number(app, "--cpu", box.vcpus, 256, "Virtual CPUs");
  add_duration(app, "--ttl", box.ttl, "The box ends after this time, like 30s, 5m or 2h");
  app->add_option_function<std::string>(
         "--on-timeout", [&box](const std::string& word) { box.pause_at_end = word == "pause"; },
         "What becomes of it then: kill, which is the default, or pause")
      ->check(CLI::IsMember({"kill", "pause"}))
      ->type_name("WHAT");
  app->add_option("--secret", box.secrets,
                  "A secret that it uses, by name: it gets a placeholder; may be repeated")
      ->type_name("NAME")
      ->expected(1)
      ->take_all()
      ->allow_extra_args(false);
  app->add_flag("--auto-resume", box.auto_resume, "When it is paused, a request for it resumes it");
  add_confinement(app, box.confinement);
  add_model_limits(app, box.models);
}

void add_command_options(CLI::App* app, CommandOptions& command, bool with_command) {
  app->add_option("-u,--user", command.user, "User in the box")->type_name("NAME");
  app->add_option("--cwd", command.cwd, "Working directory in the box")->type_name("DIR");
  if (!with_command) return;
  app->add_flag("-i,--interactive", command.interactive, "Pass on standard input");
  app->add_flag("-t,--tty", command.terminal, "Give the command a terminal");
  add_duration(app, "--timeout", command.timeout, "Kill the command after this time");
  app->add_option("command", command.argv, "What to run, best behind --; no shell is put around it")
      ->type_name("COMMAND...");
}

void add_json(CLI::App* app, GlobalOptions& global) {
  app->add_flag("--json", global.json, "Print JSON");
}

void complete(CommandOptions& command, const std::vector<std::string>& behind_dashes) {
  command.argv.insert(command.argv.end(), behind_dashes.begin(), behind_dashes.end());
  if (command.argv.empty())
    throw CLI::ValidationError("say what to run behind --, like: hako run -- uname -a");
  // A terminal without its keyboard is of no use to anyone who sits before it.
  if (command.terminal && is_terminal(STDIN_FILENO)) command.interactive = true;
}

void add_running(CLI::App& app, Parsed& parsed, int& status) {
  auto* run = app.add_subcommand("run", "Run a command in a new box, destroyed when it ends");
  add_box_options(run, parsed.run.box, false);
  add_environment(run, parsed.run.command.env);
  add_agent_options(run, parsed.run);
  run->add_flag("--keep", parsed.run.keep, "Do not destroy the box at the end");
  add_command_options(run, parsed.run.command, true);
  run->callback([&] {
    parsed.run.box.env = parsed.run.command.env;
    complete(parsed.run.command, parsed.behind_dashes);
    status = run_in_new_box(parsed.global, parsed.run);
  });

  auto* exec = app.add_subcommand("exec", "Run a command in a box that is there");
  exec->add_option("id", parsed.exec.id, "Box")->required()->type_name("ID");
  add_environment(exec, parsed.exec.command.env);
  add_command_options(exec, parsed.exec.command, true);
  exec->callback([&] {
    complete(parsed.exec.command, parsed.behind_dashes);
    status = exec_in_box(parsed.global, parsed.exec);
  });

  auto* shell = app.add_subcommand("shell", "Open a shell in a box, or in a new one");
  shell->add_option("id", parsed.shell_id, "Box; without one a new box, destroyed at the end")
      ->type_name("ID");
  add_box_options(shell, parsed.shell.box, false);
  add_environment(shell, parsed.shell.command.env);
  add_command_options(shell, parsed.shell.command, false);
  shell->callback([&] {
    CommandOptions& command = parsed.shell.command;
    command.argv = {"/bin/bash", "-i", "-l"};
    command.terminal = command.interactive = true;
    if (parsed.shell_id.empty()) {
      parsed.shell.box.env = command.env;
      status = run_in_new_box(parsed.global, parsed.shell);
    } else {
      ExecOptions exec_options;
      exec_options.id = parsed.shell_id;
      exec_options.command = command;
      status = exec_in_box(parsed.global, exec_options);
    }
  });
}

void add_boxes(CLI::App& app, Parsed& parsed, int& status) {
  auto* create = app.add_subcommand("create", "Make a box and print its id");
  add_box_options(create, parsed.create, true);
  add_json(create, parsed.global);
  create->callback([&] { status = create_box(parsed.global, parsed.create); });

  auto* list = app.add_subcommand("ps", "List boxes");
  list->alias("list");
  add_json(list, parsed.global);
  list->callback([&] { status = list_boxes(parsed.global); });

  auto* info = app.add_subcommand("info", "Show one box");
  info->add_option("id", parsed.id, "Box")->required()->type_name("ID");
  add_json(info, parsed.global);
  info->callback([&] { status = show_box(parsed.global, parsed.id); });

  auto* kill = app.add_subcommand("kill", "Destroy boxes");
  auto* ids = kill->add_option("id", parsed.ids, "Boxes")->type_name("ID...");
  kill->add_flag("--all", parsed.all, "Destroy every box, paused ones too")->excludes(ids);
  kill->callback([&] {
    if (parsed.ids.empty() && !parsed.all)
      throw CLI::ValidationError("name the boxes to destroy, or say --all");
    status = kill_boxes(parsed.global, parsed.ids, parsed.all);
  });

  auto* logs = app.add_subcommand("logs", "Show what a box wrote to its console");
  logs->add_option("id", parsed.logs.id, "Box")->required()->type_name("ID");
  logs->add_flag("-f,--follow", parsed.logs.follow, "Go on until the box ends");
  logs->callback([&] { status = show_logs(parsed.global, parsed.logs); });

  auto* copy = app.add_subcommand("cp", "Copy files and folders into or out of a box");
  copy->add_option("source", parsed.copy.source, "PATH or ID:PATH")->required()->type_name("FROM");
  copy->add_option("target", parsed.copy.target, "ID:PATH or PATH")->required()->type_name("TO");
  copy->add_option("-u,--user", parsed.copy.user, "User in the box")->type_name("NAME");
  add_label_option(copy, parsed.copy.label, "Raise the box's label first to that of what goes in");
  copy->add_flag("-q,--quiet", parsed.copy.quiet, "Say nothing when it went well");
  copy->callback([&] { status = copy_files(parsed.global, parsed.copy); });
}

void add_templates(CLI::App& app, Parsed& parsed, int& status) {
  auto* group = app.add_subcommand("template", "Templates: what boxes are made from");
  group->require_subcommand(1);
  auto* list = group->add_subcommand("ls", "List templates");
  list->alias("list");
  add_json(list, parsed.global);
  list->callback([&] { status = list_templates(parsed.global); });

  auto* build = group->add_subcommand("build", "Build a template by running commands");
  build->add_option("name", parsed.build.name, "Name of the new template")
      ->required()
      ->type_name("NAME");
  build
      ->add_option("--from", parsed.build.from,
                   "Template to start from; the default one if not given")
      ->type_name("NAME");
  add_number(build, "--memory", parsed.build.memory_mib, 1 << 20, "Memory in MiB");
  add_number(build, "--cpu", parsed.build.vcpus, 256, "Virtual CPUs");
  build->add_option("--run", parsed.build.steps, "Shell command to run as root; may be repeated")
      ->type_name("COMMAND")
      ->expected(1)
      ->take_all();
  add_label_option(build, parsed.build.label, "How confidential what goes into it is");
  add_json(build, parsed.global);
  build->callback([&] { status = build_template(parsed.global, parsed.build); });

  auto* image = group->add_subcommand("import", "Make a template of an image's archive");
  image->add_option("name", parsed.image.name, "Name of the template, as NAME or NAME:TAG")
      ->required()
      ->type_name("NAME");
  image
      ->add_option("path", parsed.image.path,
                   "OCI archive, OCI layout folder, or what `docker save` wrote")
      ->required()
      ->type_name("PATH");
  add_number(image, "--memory", parsed.image.memory_mib, 1 << 20, "Memory in MiB");
  add_number(image, "--cpu", parsed.image.vcpus, 256, "Virtual CPUs");
  add_label_option(image, parsed.image.label, "How confidential the image is");
  image->callback([&] { status = import_template(parsed.global, parsed.image); });

  auto* remove = group->add_subcommand("rm", "Remove templates");
  remove->add_option("name", parsed.names, "Templates")->required()->type_name("NAME...");
  remove->callback([&] { status = remove_templates(parsed.global, parsed.names); });
}

/// Of an agent's box, and of the agent in it.
void add_agent_box(CLI::App* app, RunOptions& run) {
  add_box_options(app, run.box, false);
  add_environment(app, run.command.env);
  add_command_options(app, run.command, false);
}

void add_service(CLI::App& app, Parsed& parsed, int& status) {
  auto* up = app.add_subcommand("up", "Start hako on this machine");
  up->add_flag("--foreground", parsed.foreground, "Stay, and supervise; for systemd");
  up->callback([&] { status = start_service(parsed.global, parsed.foreground); });

  auto* down = app.add_subcommand("down", "Destroy all boxes that run, and stop hako on this machine");
  down->add_flag("--keep-boxes", parsed.keep_boxes, "Leave the boxes running for the next `up`");
  down->callback([&] { status = stop_service(parsed.global, parsed.keep_boxes); });

  auto* restart = app.add_subcommand("restart", "Stop and start hako; the boxes go on");
  restart->callback([&] { status = restart_service(parsed.global); });

  auto* doctor = app.add_subcommand("doctor", "Check whether this machine can run hako");
  add_json(doctor, parsed.global);
  doctor->callback([&] { status = check_machine(parsed.global); });

  auto* attacks = app.add_subcommand(
      "attack", "Attack this installation out of a new box; exit status 1 if anything gets out");
  attacks->add_option("--template", parsed.attack.template_name, "Template to make the box from")
      ->type_name("NAME");
  add_confinement(attacks, parsed.attack.confinement);
  add_json(attacks, parsed.global);
  attacks->callback([&] { status = attack(parsed.global, parsed.attack); });
}

}  // namespace

int run(int argc, char** argv) {
  CLI::App app("hako gives every AI agent a virtual machine of its own.", "hako");
  app.footer(kFooter);
  app.require_subcommand(1);
  app.fallthrough();
  app.set_version_flag("--version", kVersion);
  Parsed parsed;
  int status = 0;
  app.add_option("--config", parsed.global.config, "Configuration file")->type_name("FILE");
  app.add_option("--api-url", parsed.global.api_url, "Where the API answers")->type_name("URL");
  app.add_option("--tenant", parsed.global.tenant, "Act in this tenant, with the operator's key")
      ->type_name("NAME");
  app.add_option("--ca", parsed.global.ca_file,
                 "Trust the authorities in this PEM file, and no others, about an https API")
      ->type_name("FILE");
  add_running(app, parsed, status);
  add_boxes(app, parsed, status);
  add_snapshot_commands(app, parsed.global, parsed.snapshot, status);
  add_templates(app, parsed, status);
  add_egress_commands(app, parsed.global, parsed.egress, status);
  add_audit_commands(app, parsed.global, parsed.audit, status);
  add_tenant_commands(app, parsed.global, parsed.tenant, status);
  add_model_commands(app, parsed.global, parsed.model, status);
  add_token_commands(app, parsed.global, parsed.token, status);
  add_agent_commands(app, parsed.global, parsed.agent, parsed.behind_dashes, add_agent_box, status);
  add_secret_commands(app, parsed.global, parsed.secret, status);
  add_service(app, parsed, status);
  // What stands behind -- is the command's, whatever it looks like.
  int own = 1;
  while (own < argc && std::string_view(argv[own]) != "--") ++own;
  for (int i = own + 1; i < argc; ++i) parsed.behind_dashes.emplace_back(argv[i]);
  try {
    app.parse(own, argv);
  } catch (const CLI::ParseError& problem) {
    if (problem.get_exit_code() == 0) return app.exit(problem);
    bool runs_commands =
        app.got_subcommand("run") || app.got_subcommand("exec") || app.got_subcommand("shell") ||
        app.got_subcommand("agent");
    print_note(std::string(problem.what()) + "\nSee `hako --help`.");
    return runs_commands ? kOwnFailure : 2;
  }
  return status;
}

}  // namespace hako::cli
