// The commands about tokens, as the parser knows them.
#pragma once

#include "cli/narrowing.h"

namespace hako::cli {

/// `token`: a token, "-" for standard input, or empty for the environment's.
struct TokenOptions {
  std::string token;
  NarrowingOptions narrowing;
};

/// Everything the parser fills for them; must live as long as the parser.
struct TokenCommandOptions {
  TokenOptions narrow, show;
};

/// `token`. `status` becomes the exit status.
void add_token_commands(CLI::App& app, GlobalOptions& global, TokenCommandOptions& options,
                        int& status);

// token.cpp. Neither asks anybody.
int narrow_token(const TokenOptions& options);
int show_token(const GlobalOptions& global, const TokenOptions& options);

}  // namespace hako::cli
