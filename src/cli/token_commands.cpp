#include "cli/token_commands.h"

#include <CLI/CLI.hpp>

namespace hako::cli {
namespace {

void add_token(CLI::App* app, std::string& token) {
  app->add_option("token", token,
                  "The token; - reads it from standard input, without it $HAKO_API_KEY is taken")
      ->type_name("TOKEN");
}

}  // namespace

void add_token_commands(CLI::App& app, GlobalOptions& global, TokenCommandOptions& options,
                        int& status) {
  auto* group = app.add_subcommand("token", "Tokens: keys that their holder can narrow");
  group->require_subcommand(1);
  auto* narrow = group->add_subcommand(
      "narrow", "Print a token that leaves less than this one, without asking anybody");
  add_token(narrow, options.narrow.token);
  add_narrowing(narrow, options.narrow.narrowing);
  narrow
      ->add_option("--caveat", options.narrow.narrowing.caveats,
                   "A caveat as it stands in a token, like \"boxes <= 3\"; may be repeated")
      ->type_name("TEXT")
      ->expected(1)
      ->take_all()
      ->allow_extra_args(false);
  narrow->callback([&] { status = narrow_token(options.narrow); });

  auto* show = group->add_subcommand("show", "Show what a token leaves, and nothing secret of it");
  add_token(show, options.show.token);
  show->add_flag("--json", global.json, "Print JSON");
  show->callback([&] { status = show_token(global, options.show); });
}

}  // namespace hako::cli
