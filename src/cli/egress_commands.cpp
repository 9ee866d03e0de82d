#include "cli/egress_commands.h"

#include <CLI/CLI.hpp>

#include "cli/commands.h"

namespace hako::cli {
namespace {

const CLI::IsMember& labels() {
  static const CLI::IsMember kLabels({"public", "internal", "confidential", "secret"});
  return kLabels;
}

void add_targets(CLI::App* app, const std::string& name, std::vector<std::string>& into,
                 const std::string& help) {
  app->add_option(name, into, help)
      ->type_name("TARGET")
      ->expected(1)
      ->take_all()
      ->allow_extra_args(false);
}

void add_json_flag(CLI::App* app, GlobalOptions& global) {
  app->add_flag("--json", global.json, "Print JSON");
}

void add_policy(CLI::App& app, GlobalOptions& global, PolicyCheckOptions& check, int& status) {
  auto* group = app.add_subcommand("policy", "What boxes may reach");
  group->require_subcommand(1);
  auto* command = group->add_subcommand(
      "check", "Tell whether a box may connect somewhere, by which rule, and what would have to "
               "change; exit status 1 if it may not");
  add_confinement(command, check.confinement);
  command->add_option("--box", check.box, "A box that runs; else one as it would be made")
      ->type_name("ID");
  command->add_option("destination", check.destination, "NAME:PORT or ADDRESS:PORT")
      ->required()
      ->type_name("NAME:PORT");
  add_json_flag(command, global);
  command->callback([&] { status = check_policy(global, check); });
}

void add_log(CLI::App& app, GlobalOptions& global, EgressLogOptions& log, int& status) {
  auto* group = app.add_subcommand("egress", "What leaves boxes");
  group->require_subcommand(1);
  auto* command = group->add_subcommand("log", "Show what was allowed and what was denied");
  command->add_option("id", log.id, "Box")->required()->type_name("ID");
  command->add_flag("-f,--follow", log.follow, "Go on until the box ends");
  command->add_flag("--json", global.json, "Print one JSON object for each line");
  command->callback([&] { status = show_egress_log(global, log); });
}

void add_links(CLI::App& app, GlobalOptions& global, EgressCommandOptions& options, int& status) {
  auto* group = app.add_subcommand("link", "Ports of boxes that other boxes may reach");
  group->require_subcommand(1);
  auto* add = group->add_subcommand("add", "Let one box reach a port of another; prints the id");
  LinkAddOptions& link = options.link;
  add->add_option("from", link.from, "Box that may connect")->required()->type_name("FROM");
  add->add_option("to", link.to, "Box that is connected to")->required()->type_name("TO");
  add->add_option("port", link.port, "Its port")
      ->required()
      ->check(CLI::Range(1, 65535))
      ->type_name("PORT");
  add->add_option("--name", link.name, "What FROM calls it; TO.box if not given, and always .box")
      ->type_name("NAME");
  add_json_flag(add, global);
  add->callback([&] { status = add_link(global, options.link); });

  auto* list = group->add_subcommand("ls", "List links");
  list->alias("list");
  add_json_flag(list, global);
  list->callback([&] { status = list_links(global); });

  auto* remove = group->add_subcommand("rm", "Remove links and cut their connections");
  remove->add_option("id", options.links, "Links")->required()->type_name("ID...");
  remove->callback([&] { status = remove_links(global, options.links); });
}

}  // namespace

void add_confinement(CLI::App* app, Confinement& confinement) {
  add_label_option(app, confinement.label, "How confidential what goes in is");
  app->add_option("--egress", confinement.egress, "What may go out: none, allow or internet")
      ->check(CLI::IsMember({"none", "allow", "internet"}))
      ->type_name("LEVEL");
  add_targets(app, "--allow", confinement.allow,
              "May be reached: NAME, *.NAME or a network, with :PORTS; may be repeated");
  add_targets(app, "--deny", confinement.deny, "May not be reached; may be repeated");
}

void add_label_option(CLI::App* app, std::string& label, const std::string& help) {
  app->add_option("--label", label, help + ": public, internal, confidential or secret")
      ->check(labels())
      ->type_name("LABEL");
}

void add_egress_commands(CLI::App& app, GlobalOptions& global, EgressCommandOptions& options,
                         int& status) {
  auto* label = app.add_subcommand("label", "Raise the label of a box; it never falls");
  label->add_option("id", options.label.id, "Box")->required()->type_name("ID");
  label
      ->add_option("label", options.label.label, "public, internal, confidential or secret")
      ->required()
      ->check(labels())
      ->type_name("LABEL");
  add_json_flag(label, global);
  label->callback([&] { status = raise_label(global, options.label); });
  add_policy(app, global, options.check, status);
  add_log(app, global, options.log, status);
  add_links(app, global, options, status);
}

}  // namespace hako::cli
