#include "cli/model_commands.h"

#include <CLI/CLI.hpp>

namespace hako::cli {
namespace {

void add_usage(CLI::App& app, GlobalOptions& global, UsageOptions& options, int& status) {
  auto* usage = app.add_subcommand("usage", "What calls of models took and cost");
  usage->add_option("--by", options.by, "One row for each model, day, sandbox, key, agent or tenant; or all")
      ->check(CLI::IsMember({"all", "tenant", "agent", "key", "sandbox", "model", "day"}))
      ->type_name("WHAT")
      ->capture_default_str();
  usage->add_option("--from", options.from, "From this day of UTC on")->type_name("YYYY-MM-DD");
  usage->add_option("--to", options.to, "Up to this day, with it")->type_name("YYYY-MM-DD");
  usage->add_option("--sandbox", options.sandbox, "Of this one alone")->type_name("ID");
  usage->add_flag("--all-tenants", options.all_tenants, "Of all tenants, with the operator's key");
  usage->add_flag("--json", global.json, "Print JSON");
  usage->callback([&] { status = show_model_usage(global, options); });
}

void add_everybody(CLI::App* app, bool& everybody) {
  app->add_flag("--all-tenants", everybody, "For all tenants, with the operator's key");
}

void add_most(CLI::App* app, const std::string& name, std::optional<int64_t>& into,
              const std::string& help) {
  app->add_option_function<int64_t>(
         name, [&into](int64_t value) { into = value; }, help)
      ->check(CLI::Range(int64_t(0), INT64_MAX))
      ->type_name("N");
}

}  // namespace

void add_model_limits(CLI::App* app, ModelLimits& limits) {
  app->add_option("--model", limits.models,
                  "Models that may be called, like 'claude-*'; may be repeated")
      ->type_name("NAME")
      ->expected(1)
      ->take_all()
      ->allow_extra_args(false);
  add_most(app, "--model-requests", limits.requests, "Most calls of models, ever");
  add_most(app, "--model-tokens", limits.tokens, "Most tokens of models, ever");
  app->add_option_function<std::string>(
         "--model-usd",
         [&limits](const std::string& text) {
           auto amount = parse_usd(text);
           if (!amount) throw CLI::ValidationError(amount.error().message());
           limits.microusd = amount.value();
         },
         "Most that models may cost, ever, in dollars")
      ->type_name("USD");
}

void add_model_commands(CLI::App& app, GlobalOptions& global, ModelCommandOptions& options,
                        int& status) {
  add_usage(app, global, options.usage, status);
  auto* group = app.add_subcommand("model", "Models that boxes may call");
  group->require_subcommand(1);
  auto* list = group->add_subcommand("ls", "List servers of models, prices, and what is stopped");
  list->alias("list");
  list->add_flag("--json", global.json, "Print JSON");
  list->callback([&] { status = list_models(global); });
  auto* stop = group->add_subcommand("stop", "Let no more calls of models through");
  add_everybody(stop, options.stop.everybody);
  stop->add_option("--reason", options.stop.reason, "Told to whoever calls")->type_name("TEXT");
  stop->callback([&] { status = stop_models(global, options.stop); });
  auto* start = group->add_subcommand("start", "Let calls of models through again");
  add_everybody(start, options.start.everybody);
  start->callback([&] { status = start_models(global, options.start); });
}

}  // namespace hako::cli
