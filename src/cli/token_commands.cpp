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
  auto* mint = group->add_subcommand(
      "mint", "Print a new token of the key in use: it is shown this once");
  add_narrowing(mint, options.mint);
  mint->add_flag("--json", global.json, "Print JSON");
  mint->callback([&] { status = mint_token(global, options.mint); });

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

  auto* revoke = group->add_subcommand(
      "revoke", "Make a token void, and all that was narrowed of it, at once");
  revoke
      ->add_option("token", options.revoke,
                   "The token or its identifier; - reads it from standard input")
      ->required()
      ->type_name("TOKEN");
  revoke->callback([&] { status = revoke_token(global, options.revoke); });
}

}  // namespace hako::cli
