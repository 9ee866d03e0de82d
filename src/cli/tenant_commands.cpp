#include "cli/tenant_commands.h"

#include <CLI/CLI.hpp>

#include "cli/duration.h"
#include "cli/model_commands.h"

namespace hako::cli {
namespace {

void add_json_flag(CLI::App* app, GlobalOptions& global) {
  app->add_flag("--json", global.json, "Print JSON");
}

CLI::Option* add_name(CLI::App* app, std::string& name) {
  return app->add_option("name", name, "Tenant")->required()->type_name("NAME");
}

void add_limit(CLI::App* app, const std::string& name, std::optional<int64_t>& into,
               const std::string& help) {
  app->add_option_function<int64_t>(
         name, [&into](int64_t value) { into = value; }, help)
      ->check(CLI::Range(int64_t(0), INT64_MAX))
      ->type_name("N");
}

void add_quota(CLI::App* app, policy::Quota& quota) {
  add_limit(app, "--quota-boxes", quota.boxes, "Most boxes at once, of all its people");
  add_limit(app, "--quota-cpu", quota.vcpus, "Most virtual CPUs of all its boxes");
  add_limit(app, "--quota-memory", quota.memory_mib, "Most memory of all its boxes, in MiB");
  add_limit(app, "--quota-disk", quota.disk_mib, "Most disk of all its boxes, in MiB");
  add_limit(app, "--quota-creates", quota.creates_per_minute, "Most new boxes in a minute");
  add_limit(app, "--quota-egress", quota.egress_bytes_per_day,
            "Most bytes in and out of its boxes in a day");
  add_limit(app, "--quota-model-requests", quota.model_requests_per_month,
            "Most calls of models in a month");
  add_limit(app, "--quota-model-tokens", quota.model_tokens_per_month,
            "Most tokens of models in a month");
  app->add_option_function<std::string>(
         "--quota-model-usd",
         [&quota](const std::string& text) {
           auto amount = parse_usd(text);
           if (!amount) throw CLI::ValidationError(amount.error().message());
           quota.model_microusd_per_month = amount.value();
         },
         "Most that models may cost in a month, in dollars")
      ->type_name("USD");
}

void add_unset(CLI::App* app, std::vector<std::string>& unset, const std::string& help) {
  app->add_option("--unset", unset, help)->type_name("MEMBER")->expected(1)->take_all();
}

void add_key_options(CLI::App* app, KeyOptions& key) {
  app->add_option("--role", key.role, "owner, member, viewer or auditor")
      ->check(CLI::IsMember({"owner", "member", "viewer", "auditor"}))
      ->type_name("ROLE");
  app->add_option("--user", key.user, "Whose it is")->type_name("NAME");
  app->add_option("--name", key.name, "What it is for")->type_name("TEXT");
  add_narrowing(app, key.policy);
}

void add_tenants(CLI::App& app, GlobalOptions& global, TenantCommandOptions& options, int& status) {
  auto* group = app.add_subcommand("tenant", "Tenants: who shares this hako, and with how much");
  group->require_subcommand(1);
  auto* list = group->add_subcommand("ls", "List tenants");
  list->alias("list");
  add_json_flag(list, global);
  list->callback([&] { status = list_tenants(global); });

  auto* create = group->add_subcommand("create", "Make a tenant");
  add_name(create, options.create.name);
  add_narrowing(create, options.create.policy);
  add_quota(create, options.create.quota);
  add_json_flag(create, global);
  create->callback([&] { status = create_tenant(global, options.create); });

  auto* show = group->add_subcommand("show", "Show a tenant, and what it has in use");
  add_name(show, options.name);
  add_json_flag(show, global);
  show->callback([&] { status = show_tenant(global, options.name); });

  auto* set = group->add_subcommand("set", "Change a tenant; what is not named stays");
  add_name(set, options.set.name);
  add_narrowing(set, options.set.policy);
  add_quota(set, options.set.quota);
  add_unset(set, options.set.unset,
            "Take a limit away, like policy.label or quota.boxes; may be repeated");
  add_json_flag(set, global);
  set->callback([&] { status = set_tenant(global, options.set); });

  auto* suspend = group->add_subcommand("suspend", "Refuse its keys and tokens; its boxes go on");
  add_name(suspend, options.name);
  suspend->callback([&] { status = suspend_tenant(global, options.name, true); });
  auto* resume = group->add_subcommand("resume", "Take its keys and tokens again");
  add_name(resume, options.name);
  resume->callback([&] { status = suspend_tenant(global, options.name, false); });

  auto* remove = group->add_subcommand("rm", "Remove tenants with their keys");
  remove->add_option("name", options.names, "Tenants")->required()->type_name("NAME...");
  remove->callback([&] { status = remove_tenants(global, options.names); });
}

void add_keys(CLI::App& app, GlobalOptions& global, TenantCommandOptions& options, int& status) {
  auto* group = app.add_subcommand("key", "Keys of a tenant");
  group->require_subcommand(1);
  auto* list = group->add_subcommand("ls", "List keys");
  list->alias("list");
  add_json_flag(list, global);
  list->callback([&] { status = list_keys(global); });

  auto* create = group->add_subcommand("create", "Make a key and print it: it is shown this once");
  add_key_options(create, options.key);
  add_json_flag(create, global);
  create->callback([&] { status = create_key(global, options.key); });

  auto* show = group->add_subcommand("show", "Show what a key leaves, and nothing secret of it");
  show->add_option("id", options.id, "Key")->required()->type_name("ID");
  add_json_flag(show, global);
  show->callback([&] { status = show_key(global, options.id); });

  auto* set = group->add_subcommand("set", "Change a key; what is not named stays");
  set->add_option("id", options.change.id, "Key")->required()->type_name("ID");
  add_key_options(set, options.change);
  add_unset(set, options.change.unset, "Take a limit away, like policy.label; may be repeated");
  add_json_flag(set, global);
  set->callback([&] { status = set_key(global, options.change); });

  auto* rotate = group->add_subcommand("rotate", "Give a key a new secret and print it");
  rotate->add_option("id", options.rotate.id, "Key")->required()->type_name("ID");
  rotate
      ->add_option_function<std::string>(
          "--grace",
          [&options](const std::string& text) {
            auto span = parse_duration(text);
            if (!span) throw CLI::ValidationError(span.error().message());
            options.rotate.grace = span.value();
          },
          "For how long the old one counts as well; not at all if not given")
      ->type_name("TIME");
  add_json_flag(rotate, global);
  rotate->callback([&] { status = rotate_key(global, options.rotate); });

  auto* remove = group->add_subcommand("rm", "End keys, and with them their tokens, at once");
  remove->add_option("id", options.ids, "Keys")->required()->type_name("ID...");
  remove->callback([&] { status = remove_keys(global, options.ids); });
}

}  // namespace

void add_tenant_commands(CLI::App& app, GlobalOptions& global, TenantCommandOptions& options,
                         int& status) {
  add_tenants(app, global, options, status);
  add_keys(app, global, options, status);
}

}  // namespace hako::cli
