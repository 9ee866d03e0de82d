#include "cli/audit_commands.h"

#include <CLI/CLI.hpp>

namespace hako::cli {
namespace {

void add_filter(CLI::App* app, AuditFilter& filter) {
  app->add_option("--since", filter.since, "Not before: a time, or a span before now such as 2h")
      ->type_name("TIME");
  app->add_option("--until", filter.until, "Before: a time, or a span before now")
      ->type_name("TIME");
  app->add_option("--box", filter.sandbox, "About this box")->type_name("ID");
  app->add_option("--actor", filter.actor, "Done by: operator, 'key ID', 'token ID', 'box ID'")
      ->type_name("ACTOR");
  app->add_option("--action", filter.action, "What was done, or how that begins: sandbox.")
      ->type_name("ACTION");
  app->add_option("--outcome", filter.outcome, "How it went")
      ->check(CLI::IsMember({"ok", "denied", "failed"}))
      ->type_name("OUTCOME");
  app->add_option("--text", filter.text, "Has this somewhere")->type_name("TEXT");
  app->add_option("--of-tenant", filter.of_tenant, "Of this tenant; for the operator")
      ->type_name("NAME");
  app->add_option("-n,--limit", filter.limit, "At most so many, the latest")
      ->check(CLI::Range(1, 1'000'000))
      ->type_name("N");
}

}  // namespace

void add_audit_commands(CLI::App& app, GlobalOptions& global, AuditCommandOptions& options,
                        int& status) {
  auto* group = app.add_subcommand("audit", "What has happened, and whether that is all of it");
  group->require_subcommand(1);

  auto* tail = group->add_subcommand("tail", "Show the latest records");
  add_filter(tail, options.filter);
  tail->add_flag("-f,--follow", options.follow, "Go on as they come");
  tail->add_flag("--json", global.json, "Print one JSON object for each line");
  tail->callback([&] { status = search_audit(global, options.filter, options.follow); });

  auto* search = group->add_subcommand("search", "Show the records that fit");
  add_filter(search, options.filter);
  search->add_flag("--json", global.json, "Print one JSON object for each line");
  search->callback([&] { status = search_audit(global, options.filter, false); });

  auto* copy = group->add_subcommand("export", "Copy the whole log; for the operator");
  copy->add_option("directory", options.directory, "Where to; made if missing")
      ->required()
      ->type_name("DIR");
  copy->callback([&] { status = export_audit(global, options.directory); });

  auto* verify = group->add_subcommand(
      "verify", "Check a copy, offline; exit status 1 if a record is not what was written");
  verify->add_option("directory", options.directory, "The copy")->required()->type_name("DIR");
  verify
      ->add_option("--key", options.key, "The public key, hex or PEM; this machine's if not given")
      ->type_name("FILE");
  verify->add_option("--head", options.head, "A signed head that was noted: it must be in there")
      ->type_name("FILE");
  verify->add_option("--at-least", options.at_least, "A record that was noted: it must be in there")
      ->type_name("SEQUENCE:HASH");
  verify
      ->add_option("--begins-at", options.begins_at, "The copy is meant to begin with this segment")
      ->type_name("SEQUENCE");
  verify->add_flag("--json", global.json, "Print JSON");
  verify->callback([&] { status = verify_audit(global, options); });

  auto* key = group->add_subcommand("key", "Print the public key and the latest signed head");
  key->add_flag("--json", global.json, "Print JSON");
  key->callback([&] { status = show_audit_key(global); });

  auto* seal = group->add_subcommand(
      "seal-off", "Move a log away that does not verify, so that hako starts with a new one");
  seal->add_option("directory", options.directory, "The log; this machine's if not given")
      ->type_name("DIR");
  seal->callback([&] { status = seal_off_audit(global, options.directory); });
}

}  // namespace hako::cli
