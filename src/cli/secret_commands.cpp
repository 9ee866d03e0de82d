#include "cli/secret_commands.h"

#include <CLI/CLI.hpp>

#include "cli/egress_commands.h"

namespace hako::cli {
namespace {

void add_secret_list(CLI::App* app, const char* name, std::vector<std::string>& into,
                     const char* type, const char* help) {
  app->add_option(name, into, help)->type_name(type)->expected(1)->take_all()->allow_extra_args(
      false);
}

CLI::Option* add_secret_name(CLI::App* app, std::string& name) {
  return app->add_option("name", name, "Secret, by name or id")->required()->type_name("NAME");
}

void add_secret_file(CLI::App* app, std::string& file) {
  app->add_option("--value-file", file,
                  "Read the value from this file; without it from standard input. It is never an "
                  "argument, which others could see")
      ->type_name("FILE");
}

void add_rules(CLI::App* app, SecretOptions& options) {
  add_secret_list(app, "--host", options.hosts, "HOST",
                  "Where it may be sent, and nowhere else: HOST or HOST:PORTS; may be repeated");
  add_secret_list(app, "--use", options.uses, "HOW",
                  "Where in a request it belongs: bearer, basic, basic:USER, header:NAME or "
                  "header:NAME:FORM with {} for it; may be repeated");
  app->add_option_function<std::string>(
         "--env", [&options](const std::string& name) { options.env = name; },
         "The variable in which boxes find the placeholder")
      ->type_name("VARIABLE");
  add_label_option(app, options.label, "How confidential what comes back by its use is");
  add_secret_list(app, "--for-agent", options.agents, "PATH",
                  "Grant it to boxes of this agent and those below; may be repeated");
  add_secret_list(app, "--for-box", options.boxes, "ID", "Grant it to this box; may be repeated");
  add_secret_list(app, "--for-tenant", options.tenants, "NAME",
                  "Grant it to all boxes of this tenant; another one's only the operator can");
}

}  // namespace

void add_secret_commands(CLI::App& app, GlobalOptions& global, SecretCommandOptions& options,
                         int& status) {
  auto* group = app.add_subcommand("secret", "Secrets: used by boxes that never have them");
  group->require_subcommand(1);
  auto* list = group->add_subcommand("ls", "List secrets, without their values");
  list->alias("list");
  list->add_flag("--json", global.json, "Print JSON");
  list->callback([&] { status = list_secrets(global); });

  auto* show = group->add_subcommand("show", "Show what a secret is for, and not its value");
  add_secret_name(show, options.name);
  show->add_flag("--json", global.json, "Print JSON");
  show->callback([&] { status = show_secret(global, options.name); });

  auto* add = group->add_subcommand("add", "Keep a secret, whose value comes on standard input");
  add_secret_name(add, options.add.name);
  add_secret_file(add, options.add.file);
  add_rules(add, options.add);
  add->add_flag("--json", global.json, "Print JSON");
  add->callback([&] { status = add_secret(global, options.add); });

  auto* set = group->add_subcommand("set", "Change what a secret is for; what is named is replaced");
  add_secret_name(set, options.set.name);
  add_rules(set, options.set);
  set->add_flag("--json", global.json, "Print JSON");
  set->callback([&] { status = set_secret(global, options.set); });

  auto* rotate = group->add_subcommand("rotate", "Give it a new value; boxes go on as they are");
  add_secret_name(rotate, options.rotate.name);
  add_secret_file(rotate, options.rotate.file);
  rotate->add_flag("--json", global.json, "Print JSON");
  rotate->callback([&] { status = rotate_secret(global, options.rotate); });

  auto* remove = group->add_subcommand("rm", "Remove secrets: nothing can use them any more");
  remove->add_option("name", options.names, "Secrets")->required()->type_name("NAME...");
  remove->callback([&] { status = remove_secrets(global, options.names); });

  auto* use = group->add_subcommand(
      "use", "Say which secrets a box uses, and print the placeholders that it sends for them");
  use->add_option("box", options.use.box, "Box")->required()->type_name("ID");
  use->add_option("name", options.use.secrets, "All that it is to use")->type_name("NAME...");
  use->add_flag("--none", options.use.none, "It is to use none");
  use->add_flag("--json", global.json, "Print JSON");
  use->callback([&] {
    if (options.use.none && !options.use.secrets.empty())
      throw CLI::ValidationError("name secrets, or say --none");
    status = use_secrets(global, options.use);
  });
}

}  // namespace hako::cli
